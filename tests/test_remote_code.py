"""Code of a model's own: run by a flag that pins one commit of one model of the Hub, and never else."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from nlp_transfer import RequestError, Run, cli, compare, fine_tune, load_run
from nlp_transfer.backbone import Backbone, ModelSettings, is_decoder
from nlp_transfer.comparison.jobs import Job
from nlp_transfer.configurations import LEARNED, Pin
from nlp_transfer.exporting import FORMS
from nlp_transfer.recipe import Recipe

COMMIT, OTHER = "a1" * 20, "b2" * 20
PIN = f"someone/tidy@{COMMIT}"
ROWS = [{"text": f"{('good', 'bad')[i % 2]} number {i}", "label": ("pos", "neg")[i % 2]} for i in range(40)]

CONFIGURATION = """
import os
from pathlib import Path
from transformers import PreTrainedConfig

if mark := os.environ.get("TIDY_MARK"):
    Path(mark).touch()


class TidyConfig(PreTrainedConfig):
    model_type = "KIND"

    def __init__(self, vocab_size=600, hidden_size=32, num_hidden_layers=2, max_position_embeddings=64, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.max_position_embeddings = max_position_embeddings
        super().__init__(**kwargs)


TidyConfig.register_for_auto_class()
"""

MODELING = """
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from .configuration_tidy import TidyConfig


class TidyBase(PreTrainedModel):
    config_class = TidyConfig
    base_model_prefix = "tidy"


class TidyModel(TidyBase):
    def __init__(self, config):
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(nn.Linear(config.hidden_size, config.hidden_size) for _ in range(config.num_hidden_layers))
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, **kwargs):
        states = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        for layer in self.layers:
            states = states + torch.tanh(layer(states))
        return BaseModelOutput(last_hidden_state=states)


class TidyForSequenceClassification(TidyBase):
    def __init__(self, config):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.tidy = TidyModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, **kwargs):
        states = self.tidy(input_ids, attention_mask, inputs_embeds).last_hidden_state
        return SequenceClassifierOutput(logits=self.classifier(states.mean(1)))


TidyForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
"""

TOKENIZATION = """
from transformers import PreTrainedTokenizerFast


class KINDTokenizer(PreTrainedTokenizerFast):
    words_of_its_own = True
"""

AUTO_MAP = {
    "AutoConfig": "configuration_tidy.TidyConfig",
    "AutoModel": "modeling_tidy.TidyModel",
    "AutoModelForSequenceClassification": "modeling_tidy.TidyForSequenceClassification",
}


def change(file: Path, **values: Any) -> None:
    """Put values into a JSON file, in the place of the file that a link may lead to."""
    there = json.loads(file.read_text())
    file.unlink()
    file.write_text(json.dumps({**there, **values}))


def cache_of(
    cache: Path, words: Path, kind: str = "tidy", commit: str = COMMIT, name: str = "someone/tidy", **config: Any
) -> Path:
    """A model with code of its own as the Hub's client keeps it, with the tokenizer of another."""
    home = cache / f"models--{name.replace('/', '--')}"
    folder = home / "snapshots" / commit
    folder.mkdir(parents=True)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    for each in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(words / each, folder)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer = f"{kind.capitalize()}Tokenizer"
    of_its_own = {
        "tokenizer_class": tokenizer,
        "auto_map": {"AutoTokenizer": [None, f"tokenization_tidy.{tokenizer}"]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, **of_its_own}))
    sizes = {
        "vocab_size": 600,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    values = {"model_type": kind, "architectures": ["TidyModel"], "auto_map": AUTO_MAP, **sizes, **config}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "configuration_tidy.py").write_text(CONFIGURATION.replace("KIND", kind))
    (folder / "modeling_tidy.py").write_text(MODELING)
    (folder / "tokenization_tidy.py").write_text(TOKENIZATION.replace("KIND", kind.capitalize()))
    torch.manual_seed(0)
    layers = {
        f"layers.{i}.{part}": torch.randn(*size) / 6
        for i in (0, 1)
        for part, size in (("weight", (32, 32)), ("bias", (32,)))
    }
    save_file({"embeddings.weight": torch.randn(600, 32), **layers}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def cached(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Hub's cache with the model `someone/tidy`, in the place of the one of whoever runs the tests."""
    from huggingface_hub import constants
    from transformers import dynamic_module_utils

    cache = tmp_path_factory.mktemp("hub")
    cache_of(cache, tiny_bert)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        yield cache


def trained(output: Path, method: str, **parts: Any) -> Run:
    given: dict[str, Any] = {"train": {"max_steps": 4, "precision": "fp32", "batch_size": 8}, **parts}
    task = given.pop("task", "classification")
    return fine_tune(
        task=task,
        model="someone/tidy",
        method=method,
        data=ROWS,
        output=output,
        silent=True,
        trust_remote_code=PIN,
        **given,
    )


@pytest.fixture(scope="module")
def whole(cached: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("full") / "run", "full")


@pytest.fixture(scope="module")
def tuned(cached: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("lora") / "run", "lora")


# what the flag says


@pytest.mark.parametrize(
    "said",
    [
        *("someone/tidy", "someone/tidy@main", "someone/tidy@v1.0", f"someone/tidy@{COMMIT[:39]}", f"tidy@{COMMIT}"),
        *(f"@{COMMIT}", f"a/b/c@{COMMIT}", f"../tidy@{COMMIT}", f"someone/tidy @{COMMIT}", f"someone/tidy@{COMMIT}\n"),
        *("true", COMMIT, f"s\u043emeone/tidy@{COMMIT}", f"someone/tidy@{'g' * 40}"),
    ],
)
def test_a_flag_without_one_commit_of_one_model_is_refused(
    said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError, match=r"expected ORG/NAME@COMMIT.*40 hexadecimal digits"):
        load_run(tmp_path, trust_remote_code=said)
    assert cli.main(["predict", str(tmp_path), "a text", f"--trust-remote-code={said}"]) == 2
    assert "A branch or a tag can be moved to other code tomorrow." in capsys.readouterr().err


def test_a_flag_that_python_gives_as_true_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="trust_remote_code is True: expected"):
        fine_tune(task="sentiment", data="x.csv", output=tmp_path, trust_remote_code=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "export", "compare"])
def test_every_command_that_loads_a_model_knows_the_flag(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert "--trust-remote-code" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_flag_without_a_value_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--task", "sentiment", "--data", "x.csv", "--trust-remote-code"]) == 2
    assert "--trust-remote-code needs a value" in capsys.readouterr().err


@pytest.mark.parametrize(
    "recipe",
    [
        f"trust_remote_code: {PIN}",
        f"trust-remote-code: {PIN}",
        f"model: {{name: someone/tidy, trust_remote_code: {PIN}}}",
        f"model: {{name: someone/tidy, pinned_code: {PIN}}}",
        f"model: {{name: someone/tidy, pin: {PIN}}}",
        f"train: {{trust_remote_code: {PIN}}}",
        f"data: {{source: x.csv, trust_remote_code: {PIN}}}",
    ],
)
def test_no_recipe_can_ask_for_code(
    recipe: str, cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(
        f"task: sentiment\n{'' if recipe.startswith('data') else 'data: x.csv'}\n{recipe}\n"
    )
    assert cli.main(["train", "--config", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert 'no setting "' in said or ('a recipe has no "trust' in said and "by --trust-remote-code alone" in said)
    assert not (tmp_path / "run").exists()


def test_several_processes_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(cli, "launch", lambda words, count: told.append([*words, str(count)]) or 0)
    words = ["--task", "sentiment", "--data", "x.csv", "--output", str(tmp_path / "run")]
    assert cli.main(["train", *words, "--processes", "2", "--trust-remote-code", PIN]) == 0
    assert f"--trust-remote-code={PIN}" in told[0]
    assert told[0][-1] == "2"


# what is refused, whatever the flag says


def spoiled(cached: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, whose model calls itself otherwise, so that nothing of it is known yet."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TIDY_MARK", str(tmp_path / "mark"))
    return cache_of(tmp_path, tiny_bert, kind="spoiled", name="someone/spoiled")


SPOILED = f"someone/spoiled@{COMMIT}"


def auto_map(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / "config.json", auto_map={**AUTO_MAP, **values})


def unlink(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def outward(folder: Path) -> None:
    (folder / "modeling_tidy.py").unlink()
    (folder / "modeling_tidy.py").symlink_to("/etc/hostname")


def with_pickle(folder: Path) -> None:
    (folder / "more.txt").write_bytes(b"\x80\x04\x95\x00")


REFUSED: dict[str, tuple[Callable[[Path], Any], str | None, str]] = {
    "no_flag": (lambda _: None, None, r"names code of its own.*--trust-remote-code someone/spoiled@COMMIT"),
    "of_another_model": (lambda _: None, PIN, "is the code of someone/tidy@a1a1.* alone"),
    "of_another_commit": (lambda _: None, f"someone/spoiled@{OTHER}", "cannot be loaded"),
    "elsewhere": (auto_map(AutoModel="evil/code--modeling_x.X"), SPOILED, r'another model \("evil/code"\)'),
    "elsewhere_in_a_list": (
        auto_map(AutoTokenizer=[None, "evil/code--x.X"]),
        SPOILED,
        r'another model \("evil/code"\)',
    ),
    "elsewhere_inside": (
        lambda folder: change(folder / "config.json", text_config={"auto_map": {"AutoModel": "evil/code--x.X"}}),
        SPOILED,
        r'another model \("evil/code"\)',
    ),
    "tokenizer_elsewhere": (
        lambda folder: change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil/code--x.X", None]}),
        SPOILED,
        r'another model \("evil/code"\)',
    ),
    "above": (auto_map(AutoModel="../evil.X"), SPOILED, "is no class of a module beside it"),
    "in_a_folder": (auto_map(AutoModel="evil/evil.X"), SPOILED, "is no class of a module beside it"),
    "a_number": (auto_map(AutoModel=3), SPOILED, "is no class of a module beside it"),
    "pinned_to_another": (
        lambda folder: change(folder / "config.json", pinned_code=f"someone/spoiled@{OTHER}"),
        SPOILED,
        "is the code of someone/spoiled@a1a1.* alone",
    ),
    "asks_for_trust": (
        lambda folder: change(folder / "config.json", trust_remote_code=True),
        SPOILED,
        "asks for code to be run",
    ),
    "kernel": (lambda folder: change(folder / "config.json", _attn_implementation="evil/x"), SPOILED, "evil/x"),
    "a_module_that_is_not_there": (unlink("modeling_tidy.py"), SPOILED, r"code of someone/spoiled@.* cannot be loaded"),
    "a_module_outside": (outward, SPOILED, r"modeling_tidy\.py is a link that leads out"),
    "a_pickle": (with_pickle, SPOILED, r"more\.txt is a pickle"),
    "a_class_that_is_not_there": (
        auto_map(AutoModel="modeling_tidy.Nothing"),
        SPOILED,
        "has no attribute|no attribute 'Nothing'",
    ),
    "absurd_size": (
        lambda folder: change(folder / "config.json", vocab_size=10**9),
        SPOILED,
        "beyond every model there is",
    ),
    "a_size_that_its_weights_do_not_explain": (
        lambda folder: change(folder / "config.json", vocab_size=9_000_000),
        SPOILED,
        "and its files hold",
    ),
    "in_the_place_of_bert": (
        lambda folder: (folder / "configuration_tidy.py").write_text(CONFIGURATION.replace("KIND", "bert")),
        SPOILED,
        'calls its models "bert", which in this process are those of transformers',
    ),
    "without_a_configuration": (
        lambda folder: change(folder / "config.json", model_type="bert", auto_map={"AutoModel": AUTO_MAP["AutoModel"]}),
        SPOILED,
        "has no AutoConfig",
    ),
}
BEFORE_ITS_CODE = set(REFUSED) - {
    *("a_module_that_is_not_there", "a_class_that_is_not_there", "in_the_place_of_bert", "without_a_configuration"),
    "a_size_that_its_weights_do_not_explain",
}


@pytest.mark.parametrize("name", REFUSED)
def test_code_that_nobody_pinned_is_refused_and_not_run(
    name: str, cached: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = spoiled(cached, tiny_bert, tmp_path, monkeypatch)
    spoil, pin, reason = REFUSED[name]
    spoil(folder)
    try:
        with pytest.raises(RequestError, match=reason):
            Backbone.find(ModelSettings("someone/spoiled"), Pin.read(pin)).model(AutoModel, {})
    finally:
        forget("spoiled")
    if name in BEFORE_ITS_CODE:
        assert not (tmp_path / "mark").exists()


def forget(kind: str) -> None:
    """Have transformers know nothing of a model's code any more, as a fresh process does."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.tokenization_auto import REGISTERED_TOKENIZER_CLASSES

    from nlp_transfer import remote_code

    tokenizer = f"{kind.capitalize()}Tokenizer"
    if pin := LEARNED.pop(kind, None):
        remote_code.LOADED.pop(pin, None)
    LEARNED.pop(tokenizer, None)
    CONFIG_MAPPING._extra_content.pop(kind, None)
    REGISTERED_TOKENIZER_CLASSES.pop(tokenizer, None)


@pytest.mark.parametrize("revision", ["main", "v1.0", OTHER])
def test_another_revision_than_the_pinned_one_is_refused(revision: str, cached: Path) -> None:
    with pytest.raises(RequestError, match=f"model.revision is {revision}, and the code that may be run is {PIN}"):
        Backbone.find(ModelSettings("someone/tidy", revision=revision), Pin.read(PIN))


def test_the_code_of_a_folder_is_refused_with_the_flag_too(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDY_MARK", str(tmp_path / "mark"))
    shutil.copytree(cached / "models--someone--tidy" / "snapshots" / COMMIT, tmp_path / "tidy")
    with pytest.raises(RequestError, match=r"the code of a folder is never run, since no commit pins it"):
        Backbone.find(ModelSettings(str(tmp_path / "tidy")))
    with pytest.raises(
        RequestError, match=r"lies in the folder: the code of a folder is never run, since no commit pins it"
    ):
        Backbone.find(ModelSettings(str(tmp_path / "tidy")), Pin.read(PIN))
    # nor where the folder stands under the name of the model that is pinned
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone").mkdir()
    (tmp_path / "tidy").rename(tmp_path / "someone" / "tidy")
    with pytest.raises(RequestError, match="the code of a folder is never run"):
        Backbone.find(ModelSettings("someone/tidy"), Pin.read(PIN))
    assert not (tmp_path / "mark").exists()


def test_modules_are_downloaded_with_the_flag_alone(monkeypatch: pytest.MonkeyPatch, cached: Path) -> None:
    from nlp_transfer import trust

    asked: list[list[str]] = []
    found = str(cached / "models--someone--tidy" / "snapshots" / COMMIT)
    monkeypatch.setattr(trust, "snapshot_download", lambda _, **given: asked.append(given["allow_patterns"]) or found)
    pin = Pin.read(PIN)
    for name, its in (("someone/tidy", None), ("someone/other", pin)):
        with pytest.raises(RequestError, match="names code of its own"):
            print(Backbone.find(ModelSettings(name), its).folder)
    assert Backbone.find(ModelSettings("someone/tidy"), pin).folder == Path(found)
    assert ["*.py" in patterns for patterns in asked] == [False, False, True]


def test_a_model_without_the_pin_cannot_use_code_that_is_known_by_now(
    whole: Run, tiny_bert: Path, tmp_path: Path
) -> None:
    assert "tidy" in LEARNED
    shutil.copytree(tiny_bert, tmp_path / "stranger")
    config, tokenizer = (tmp_path / "stranger" / name for name in ("config.json", "tokenizer_config.json"))
    for file, values in (
        (config, {"model_type": "tidy"}),
        (tokenizer, {"tokenizer_class": "TidyTokenizer"}),
        (tokenizer, {"tokenizer_class": "TidyTokenizerFast"}),
    ):
        as_it_was = file.read_text()
        change(file, **values)
        for pin in (None, Pin.read(PIN)):
            with pytest.raises(RequestError, match=f"{file.name} names code of its own"):
                Backbone.find(ModelSettings(str(tmp_path / "stranger")), pin)
        file.write_text(as_it_was)
    assert Backbone.find(ModelSettings(str(tmp_path / "stranger"))).tokenizer()
    assert whole.pin == Pin.read(PIN)


# what a run of such a model is


def test_what_is_saved_holds_no_code_and_says_whose_it_was(whole: Run, tuned: Run) -> None:
    for run in (whole, tuned):
        assert run.tokenizer.words_of_its_own
        assert type(run.tokenizer).__name__ == "TidyTokenizer"
        assert not list(run.folder.rglob("*.py"))
        recipe = Recipe.read(run.folder / "recipe.yaml")
        assert (recipe.model.name, recipe.model.revision) == ("someone/tidy", COMMIT)
        assert run.report["backbone"]["code"] == PIN
        assert run.report["backbone"]["revision"] == COMMIT
    config = json.loads((whole.folder / "model" / "config.json").read_text())
    assert config["pinned_code"] == PIN
    assert config["auto_map"] == {auto: f"someone/tidy--{reference}" for auto, reference in AUTO_MAP.items()}
    assert json.loads((tuned.folder / "model" / "adapter_config.json").read_text())["auto_mapping"] is None
    assert type(whole.model).__name__ == "TidyForSequenceClassification"
    for run in (whole, tuned):
        again = load_run(run.folder, trust_remote_code=PIN)
        assert [a.probability for a in again.predict(["good", "bad"])] == [
            a.probability for a in run.predict(["good", "bad"])
        ]


@pytest.mark.parametrize("kind", ["whole", "tuned"])
def test_a_run_is_loaded_by_the_same_flag_alone(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(request.getfixturevalue(kind).folder)
    assert cli.main(["predict", folder, "a good text"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"unless you have read it and say so: --trust-remote-code {PIN}" in said.err
    for other in (f"someone/other@{COMMIT}", f"someone/tidy@{OTHER}"):
        assert cli.main(["predict", folder, "a good text", "--trust-remote-code", other]) == 2
        assert f"the code of {other} alone" in capsys.readouterr().err


def without_revision(folder: Path) -> None:
    file = folder / "recipe.yaml"
    file.write_text(file.read_text().replace(f"revision: {COMMIT}", "revision: null"))


def of(name: str, revision: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        file = folder / "recipe.yaml"
        text = file.read_text().replace("name: someone/tidy", f"name: {name}")
        file.write_text(text.replace(f"revision: {COMMIT}", f"revision: {revision}"))

    return do


STRANGERS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "another_commit": (
        "whole",
        lambda folder: change(folder / "model/config.json", pinned_code=f"someone/tidy@{OTHER}"),
        "alone",
    ),
    "another_model": (
        "whole",
        lambda folder: change(folder / "model/config.json", pinned_code=f"evil/tidy@{COMMIT}"),
        "alone",
    ),
    "no_commit": ("whole", lambda folder: change(folder / "model/config.json", pinned_code=None), "alone"),
    "classes_of_another": (
        "whole",
        lambda folder: change(folder / "model/config.json", auto_map={"AutoModel": "evil/code--x.X"}),
        "another model",
    ),
    "classes_beside_it": (
        "whole",
        lambda folder: change(folder / "model/config.json", auto_map=AUTO_MAP),
        "lies in the folder",
    ),
    "tokenizer_of_another": (
        "whole",
        lambda folder: change(folder / "model/tokenizer_config.json", auto_map={"AutoTokenizer": ["evil/code--x.X"]}),
        "another model",
    ),
    "tuned_on_another_commit": ("tuned", of("someone/tidy", OTHER), "model.revision is"),
    "tuned_on_a_branch": ("tuned", of("someone/tidy", "main"), "model.revision is main"),
    "tuned_on_no_commit": ("tuned", without_revision, "does not say at which commit"),
    "tuned_imports": (
        "tuned",
        lambda folder: change(
            folder / "model/adapter_config.json",
            auto_mapping={"base_model_class": "X", "parent_library": "transformers_modules.x"},
        ),
        "names a module to be imported",
    ),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_run_that_names_other_code_than_the_flag_is_refused(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, spoil, reason = STRANGERS[name]
    shutil.copytree(request.getfixturevalue(kind).folder, tmp_path / "run")
    spoil(tmp_path / "run")
    assert cli.main(["predict", str(tmp_path / "run"), "a good text", "--trust-remote-code", PIN]) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_methods_pooling_and_a_second_training(cached: Path, whole: Run, tmp_path: Path) -> None:
    head = trained(tmp_path / "head", "head", head={"pooling": "mean"})
    assert json.loads((head.folder / "model/config.json").read_text())["backbone_config"]["pinned_code"] == PIN
    assert load_run(head.folder, PIN).predict(["good"])
    further = fine_tune(
        task="classification",
        model=str(whole.folder),
        data=ROWS,
        output=tmp_path / "further",
        silent=True,
        trust_remote_code=PIN,
        train={"max_steps": 1, "precision": "fp32"},
    )
    assert further.predict(["good"])
    with pytest.raises(RequestError, match="names code of its own"):
        fine_tune(task="classification", model=str(whole.folder), data=ROWS, output=tmp_path / "none", silent=True)


def test_a_head_that_its_code_lacks_is_refused_with_a_way_out(cached: Path) -> None:
    backbone = Backbone.find(ModelSettings("someone/tidy"), Pin.read(PIN))
    del backbone.config.auto_map["AutoModelForSequenceClassification"]
    from nlp_transfer.remote_code import refuse_lacking

    with pytest.raises(RequestError, match=r"has no AutoModelForSequenceClassification: use --head.pooling mean"):
        refuse_lacking(AutoModelForSequenceClassification, backbone.config)
    assert not is_decoder(backbone.config)
    backbone.config.auto_map = {"AutoModelForCausalLM": "x.Y"}
    assert is_decoder(backbone.config)


def test_exports_hold_no_code_either(tuned: Run, tmp_path: Path) -> None:
    FORMS["merged"](tuned, tmp_path / "merged")
    assert not list((tmp_path / "merged").rglob("*.py"))
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["pinned_code"] == PIN


def test_a_comparison_hands_the_flag_to_its_jobs_and_writes_it_nowhere(cached: Path, tmp_path: Path) -> None:
    job = Job("run", "full", "full", 1, {"seed": 0, "data": {}}, "f", trust_remote_code=PIN)
    assert Job.from_json(job.to_json()).trust_remote_code == PIN
    asked: dict[str, Any] = {
        "task": "classification",
        "model": "someone/tidy",
        "data": ROWS,
        "methods": "full",
        "trials": 1,
    }
    how = {"seeds": [0], "engine": "here", "baselines": False, "forgetting": False, "silent": True}
    train = {"max_steps": 2, "precision": "fp32"}
    with pytest.raises(RequestError, match="names code of its own"):
        compare(**asked, **how, train=train, output=tmp_path / "none")
    done = compare(**asked, **how, train=train, output=tmp_path / "compare", trust_remote_code=PIN)
    assert [line["status"] for line in done.lines] == ["finished"]
    assert (
        "trust_remote_code"
        not in (done.folder / "protocol.json").read_text() + (done.folder / "results.jsonl").read_text()
    )


def test_what_the_page_says_of_such_models_is_so(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parent.parent / "docs" / "methods.md"
    commands = re.findall(
        r"^\$ nlp-transfer (.*--trust-remote-code.*)$", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [command.split()[0] for command in commands] == ["train", "predict"]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS))
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert PIN in command
        assert cli.main(shlex.split(command)) == 0, command


PLAIN = """
import sys
from transformers import AutoModelForSequenceClassification
folder, commit = sys.argv[1:]
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True, code_revision=commit)
print(type(model).__name__)
"""


BOTH = """
import sys
from nlp_transfer import cli
run, rows, pin = sys.argv[1:]
assert cli.main(["predict", run, "good"]) == 2
assert cli.main(["predict", run, "good", "--trust-remote-code", pin]) == 0
assert cli.main(["evaluate", run, "--data", rows, "--trust-remote-code", pin]) == 0
"""


def done(cached: Path, folder: Path, *words: str) -> str:
    """What Python prints in a new process, which finds the model in the Hub's cache."""
    told = {"HF_HUB_CACHE": str(cached), "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder / "modules")}
    end = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env={**os.environ, **told}, cwd=folder, check=False
    )
    assert end.returncode == 0, end.stderr
    return end.stdout


def test_a_new_process_answers_with_the_flag_alone(cached: Path, whole: Run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    said = done(cached, tmp_path, "-c", BOTH, str(whole.folder), str(rows), PIN)
    assert said.count("\tgood") == 1
    assert "accuracy" in said


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_from_training_to_scores_in_new_processes(method: str, cached: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    run, flag = str(tmp_path / "run"), ["--trust-remote-code", PIN]
    words = ["--task", "classification", "--data", str(rows), "--model", "someone/tidy", "--method", method]
    words += ["--train.max_steps", "2", "--train.precision", "fp32", "--output", run]
    assert "accuracy" in done(cached, tmp_path, "-m", "nlp_transfer.cli", "train", *words, *flag)
    assert "\tgood" in done(cached, tmp_path, "-c", BOTH, run, str(rows), PIN)
    assert not list(Path(run).rglob("*.py"))
    if method == "full":
        # and for plain transformers, which takes the code from where the run says
        assert "TidyForSequenceClassification" in done(cached, tmp_path, "-c", PLAIN, f"{run}/model", COMMIT)
