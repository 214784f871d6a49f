"""Models, runs and adapters from strangers: every malicious folder is refused with the reason, and nothing of it is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from nlp_transfer import artefacts, cli, fine_tune, load_run, samples
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.comparison.evidence import Evidence
from nlp_transfer.comparison.protocol import read as read_protocol
from nlp_transfer.comparison.results import Results
from nlp_transfer.errors import RequestError
from nlp_transfer.runs import Run
from nlp_transfer.trust import refuse_links, refuse_untrusted, stored_weights
from tests import families

ROWS = [{"text": f"{('good', 'bad')[i % 2]} number {i}", "label": ("pos", "neg")[i % 2]} for i in range(40)]


class Touch:
    """A pickle that leaves a mark where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def change(name: str, /, **values: Any) -> Callable[[Path], None]:
    """Put values into a JSON file of the folder, which is made where it is not there."""

    def do(folder: Path) -> None:
        file = folder / name
        there = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**there, **values}))

    return do


def write(name: str, content: bytes | str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return do


def pickled(name: str) -> Callable[[Path], None]:
    return lambda folder: write(name, pickle.dumps(Touch(folder.parent / "pwned")))(folder)


def link(name: str, target: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return do


def header(**tensors: Any) -> bytes:
    said = json.dumps(tensors).encode()
    return struct.pack("<Q", len(said)) + said + b"\0" * 16


def reshaped(name: str, shape: tuple[int, ...]) -> Callable[[Path], None]:
    """Another shape for one tensor."""

    def do(folder: Path) -> None:
        file = next(folder.glob("*.safetensors"))
        tensors = load_file(file)
        key = next(key for key in tensors if name in key)
        save_file({**tensors, key: np.zeros(shape, np.float32)}, file, metadata={"format": "pt"})

    return do


EMBEDDINGS = "embeddings.word_embeddings.weight"
HUGE = {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 2**62]}
SHARD = "model-00001-of-00001.safetensors"

MODELS: dict[str, tuple[Callable[[Path], Any], str]] = {
    # pickles
    "pytorch_model_bin": (pickled("pytorch_model.bin"), "pytorch_model.bin is a pickle"),
    "optimizer_pt": (pickled("optimizer.pt"), "optimizer.pt is a pickle"),
    "training_args": (pickled("training_args.bin"), "training_args.bin is a pickle"),
    "pkl": (pickled("tokenizer.pkl"), "tokenizer.pkl is a pickle"),
    "pickle_with_another_name": (pickled("notes.txt"), "notes.txt is a pickle"),
    "pickle_named_safetensors": (pickled("model.safetensors"), "model.safetensors is a pickle"),
    "pickle_in_a_folder": (pickled("checkpoint-5/rng_state.pth"), "checkpoint-5/rng_state.pth is a pickle"),
    "torch_archive": (write("model.safetensors", b"PK\x03\x04data.pkl"), "model.safetensors is a pickle"),
    "numpy_objects": (write("vectors.npy", b"\x93NUMPY"), "vectors.npy is a pickle"),
    # code
    "auto_map": (
        change("config.json", auto_map={"AutoModel": "evil.Evil"}),
        "names code of its own to be run (auto_map)",
    ),
    "auto_map_of_the_tokenizer": (
        change("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}),
        "tokenizer_config.json names code",
    ),
    "auto_map_inside": (change("config.json", text_config={"auto_map": {"AutoModel": "evil.Evil"}}), "(auto_map)"),
    "pipelines": (change("config.json", custom_pipelines={"x": {"impl": "evil.Evil"}}), "(custom_pipelines)"),
    "asks_for_trust": (change("config.json", trust_remote_code=True), "asks for code to be run"),
    "kernel": (
        change("config.json", _attn_implementation="kernels-community/flash-attn"),
        "kernels-community/flash-attn",
    ),
    "kernel_by_another_name": (change("config.json", attn_implementation={"": "someone/evil:run"}), "someone/evil:run"),
    "kernel_of_experts": (change("config.json", _experts_implementation="someone/evil"), "someone/evil"),
    "kernel_by_an_inner_name": (change("config.json", _attn_implementation_internal="someone/evil"), "someone/evil"),
    "flash_attention_that_is_fetched": (
        change("config.json", _attn_implementation="flash_attention_2"),
        "expected one of",
    ),
    "kernels": (change("config.json", use_kernels=True), "fetched from the Hub"),
    # places
    "weight_map_absolute": (
        change("model.safetensors.index.json", weight_map={EMBEDDINGS: "/etc/passwd"}),
        'names a place outside the folder (embeddings.word_embeddings.weight: "/etc/passwd")',
    ),
    "weight_map_above": (change("model.safetensors.index.json", weight_map={"a": "../../x.safetensors"}), "outside"),
    "weight_map_of_pickles": (change("model.safetensors.index.json", weight_map={"a": "x.bin"}), 'names "x.bin"'),
    "weight_map_that_is_none": (change("model.safetensors.index.json", weight_map=["x"]), "has no weight_map"),
    "tokenizer_file_absolute": (change("tokenizer_config.json", tokenizer_file="/etc/passwd"), "outside the folder"),
    "tokenizer_file_above": (
        change("tokenizer_config.json", fast_tokenizer_files=["../tokenizer.4.0.json"]),
        "outside",
    ),
    "vocab_file_windows": (change("tokenizer_config.json", vocab_file="C:\\vocab.txt"), "outside the folder"),
    "vocab_file_address": (change("tokenizer_config.json", vocab_file="https://example.org/vocab"), "outside"),
    "home": (change("config.json", cache_dir="~/.ssh"), "outside the folder"),
    "link_absolute": (link("vocab.txt", "/etc/passwd"), "vocab.txt is a link that leads out of the folder"),
    "link_above": (link("vocab.txt", "../vocab.txt"), "vocab.txt is a link that leads out of the folder"),
    "link_of_a_folder": (link("more", ".."), "more is a link that leads out of the folder"),
    "link_to_nothing": (link("vocab.txt", "nothing"), "link to nothing"),
    "pipe": (lambda folder: os.mkfifo(folder / "vocab.txt"), "vocab.txt is no file but a pipe"),
    "chat_template_above": (
        change("tokenizer_config.json", chat_template=[{"name": "../../evil", "template": "x"}]),
        'would be written as "../../evil"',
    ),
    "chat_template_by_name": (change("tokenizer_config.json", chat_template={"/tmp/evil": "x"}), '"/tmp/evil"'),
    # sizes
    "header_of_2_60_bytes": (write("model.safetensors", struct.pack("<Q", 2**60)), "no safetensors file"),
    "header_cut_off": (write("model.safetensors", b"\x08\0\0"), "no safetensors file"),
    "header_no_json": (write("model.safetensors", struct.pack("<Q", 4) + b"{{{{"), "no safetensors file"),
    "tensor_of_2_60_numbers": (write("model.safetensors", header(x=HUGE)), "no safetensors file"),
    "tensor_beyond_its_file": (
        write("model.safetensors", header(x={"dtype": "F32", "shape": [99], "data_offsets": [0, 396]})),
        "no safetensors file",
    ),
    "tensors_over_each_other": (
        write(
            "model.safetensors",
            header(**{key: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for key in "ab"}),
        ),
        "no safetensors file",
    ),
    "vocabulary_of_10_9": (change("config.json", vocab_size=10**9), "vocab_size is 1,000,000,000"),
    "labels_of_10_9": (change("config.json", num_labels=10**9), "num_labels is 1,000,000,000"),
    "layers_of_10_9": (change("config.json", num_hidden_layers=10**9), "num_hidden_layers is 1,000,000,000"),
    "width_of_2_60": (change("config.json", hidden_size=2**60), "hidden_size"),
    "json_deep": (write("config.json", '{"a":' * 10_000 + "1" + "}" * 10_000), "config.json is no JSON"),
    "json_broken": (write("generation_config.json", "{"), "generation_config.json is no JSON"),
    "json_of_100_megabytes": (write("more.json", b"[" + b"0," * 2**24 + b"0]"), "as no configuration does"),
    # what shows only while it is loaded
    "vocabulary_that_weights_lack": (change("config.json", vocab_size=9_000_000), "weights, and its files hold"),
    "positions_that_weights_lack": (change("config.json", max_position_embeddings=2**40), "bert"),
    "negative_size": (change("config.json", hidden_size=-32), "no model can be made"),
    "weights_of_another_shape": (reshaped("word_embeddings", (600, 16)), "do not fit its own config.json"),
    "unknown_architecture": (change("config.json", model_type="evil"), "evil"),
    "settings_of_other_kinds": (change("config.json", hidden_act=["gelu"]), "cannot be loaded"),
    "tokenizer_broken": (write("tokenizer.json", '{"version": 7}'), "cannot be loaded"),
}


def loaded_whole(folder: Path) -> None:
    backbone = Backbone.find(ModelSettings(str(folder)))
    backbone.tokenizer()
    backbone.model(AutoModelForSequenceClassification, {"num_labels": 2})


@pytest.mark.parametrize("name", MODELS)
def test_a_model_from_strangers_is_refused_with_the_reason(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(tiny_bert, folder)
    spoil, reason = MODELS[name]
    spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RequestError) as caught:
        loaded_whole(folder)
    assert reason in str(caught.value)
    assert "bert" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before  # no pickle was read, and nothing was written


def test_there_are_enough_of_them() -> None:
    assert len(MODELS) + len(RUNS) + len(TUNED) + len(COMPARISONS) >= 100


def long_header(file: Path, tail: int) -> None:
    """Make a header of safetensors longer by blanks, as its rules allow, until its length ends with these two bytes."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    longer = length + (tail - length) % 2**16
    file.write_bytes(struct.pack("<Q", longer) + content[8 : 8 + length].ljust(longer) + content[8 + length :])
    assert file.read_bytes()[:2] == b"\x80\x02"


GOOD: dict[str, Callable[[Path], Any]] = {
    "as_it_is": lambda folder: folder,
    # transformers writes it down and reads nothing from there, and many models of the Hub say so
    "where_it_was_trained": change("config.json", _name_or_path="/home/someone/checkpoints/bert"),
    "where_its_tokenizer_was": change("tokenizer_config.json", special_tokens_map_file="/root/.cache/tokens.json"),
    "attention_of_torch": change("config.json", _attn_implementation="eager"),
    "empty_auto_map": change("config.json", auto_map={}),
    "no_limit_of_length": change("tokenizer_config.json", model_max_length=10**30),
    "a_chat_template": change("tokenizer_config.json", chat_template="{{ messages }}"),
    "chat_templates": change("tokenizer_config.json", chat_template=[{"name": "tool_use", "template": "x"}]),
    "a_folder_beside": write("1_Pooling/config.json", '{"pooling_mode_mean_tokens": true}'),
    "a_list_of_modules": write("modules.json", '[{"idx": 0, "path": "1_Pooling"}]'),
    "a_tokenizer_that_nobody_knows": change("tokenizer_config.json", tokenizer_class="os.system"),
    "a_link_inside": link("copy.json", "config.json"),
    # the header's length is the first thing in the file: these two bytes are how a pickle begins
    "a_header_of_0x280_bytes": lambda folder: long_header(folder / "model.safetensors", 0x280),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_unusual_and_harmless_is_loaded(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(tiny_bert, folder)
    GOOD[name](folder)
    backbone = Backbone.find(ModelSettings(str(folder)))
    assert backbone.tokenizer().pad_token_id == 0
    loaded = backbone.model(AutoModelForSequenceClassification, {"num_labels": 2})
    assert loaded.model.num_labels == 2


def test_a_model_from_scratch_that_no_memory_holds_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(tiny_bert, folder)
    change("config.json", vocab_size=10_000_000, hidden_size=1_000_000)(folder)
    with pytest.raises(RequestError, match=r"from scratch would have 19,\d.* GB where this machine has"):
        Backbone.find(ModelSettings(str(folder), from_scratch=True)).model(AutoModel, {})


def snapshot(cache: Path, model: Path) -> Path:
    """A model as the Hub's client keeps it: files under their hashes, and a snapshot of links to them."""
    home = cache / "models--someone--bert"
    folder = home / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0" * 40)
    for file in model.iterdir():
        shutil.copy(file, home / "blobs" / file.name)
        (folder / file.name).symlink_to(f"../../blobs/{file.name}")
    return folder


@pytest.fixture
def cached(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    # it knows no list of the commit's files, as one that the client has made does, and the Hub would be asked again and again
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot(tmp_path, tiny_bert)


def test_a_model_of_the_hub_is_looked_at_like_any_other(cached: Path) -> None:
    settings = ModelSettings("someone/bert")
    assert Backbone.find(settings).model(AutoModel, {}).model.config.hidden_size == 32
    pickled("pytorch_model.bin")(cached)  # most models of the Hub have one; it is not downloaded, and not read
    assert Backbone.find(settings).model(AutoModel, {}).model.config.hidden_size == 32
    change("config.json", auto_map={"AutoModel": "evil.Evil"})(cached)
    with pytest.raises(RequestError, match=r"someone/bert cannot be loaded: .*config\.json names code"):
        Backbone.find(settings).model(AutoModel, {})


def test_a_run_stays_with_the_commit_of_the_hub_that_it_was_made_from(cached: Path, tmp_path: Path) -> None:
    data = {"source": str(samples.path("sentiment")), "limit": 8}
    run = fine_tune(
        model="someone/bert",
        task="sentiment",
        method="adapter",
        data=data,
        train={"max_steps": 1},
        output=tmp_path / "run",
        silent=True,
    )
    commit = "0" * 40
    assert run.report["backbone"]["revision"] == run.report["recipe"]["model"]["revision"] == commit
    assert run.report["backbone"]["sha256"]
    config = json.loads((run.folder / "model" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["base_model_name_or_path"], config["revision"]) == ("someone/bert", commit)
    before = run.predict(["good"])
    moved = cached.parent / ("1" * 40)
    shutil.copytree(cached, moved)
    change("config.json", hidden_size=16)(moved)
    (cached.parent.parent / "refs" / "main").write_text("1" * 40)
    assert load_run(run.folder).predict(["good"]) == before


def test_a_snapshot_may_link_to_its_blobs_and_nowhere_else(cached: Path) -> None:
    refuse_untrusted(cached)
    link("vocab.txt", "/etc/passwd")(cached)
    with pytest.raises(RequestError, match=r"vocab\.txt is a link"):
        refuse_untrusted(cached)


def test_only_what_is_read_is_downloaded(monkeypatch: pytest.MonkeyPatch, tiny_bert: Path) -> None:
    from nlp_transfer import trust

    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        trust, "snapshot_download", lambda name, **given: asked.update(given, name=name) or str(tiny_bert)
    )
    assert Backbone.find(ModelSettings("owner/model", revision="abc")).folder == tiny_bert
    assert (asked["name"], asked["revision"]) == ("owner/model", "abc")
    assert not [each for each in asked["allow_patterns"] if each.endswith((".py", ".bin", ".pt", "*"))]
    assert asked["ignore_patterns"] == ["*/*"]


# runs and adapters


@pytest.fixture(scope="module")
def whole(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _trained("full", tiny_bert, tmp_path_factory)


@pytest.fixture(scope="module")
def tuned(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _trained("lora", tiny_bert, tmp_path_factory)


def _trained(method: str, model: Path, factory: pytest.TempPathFactory) -> Run:
    output = factory.mktemp(method) / "run"
    train = {"max_steps": 2, "precision": "fp32"}
    parts: dict[str, Any] = {"task": "classification", "model": str(model), "method": method, "train": train}
    return fine_tune(data=ROWS, output=output, silent=True, **parts)


def task(**values: Any) -> Callable[[Path], None]:
    return change("task.json", **values)


RUNS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "task_unknown": (task(name="evil"), 'there is no task "evil"'),
    "task_elsewhere": (task(name="../evil"), "there is no task"),
    "task_without_name": (task(name=None), "there is no task"),
    "setting_unknown": (task(evil=1), 'Classification has no "evil"'),
    "classes_no_words": (task(classes=[1, 2]), "classes is (1, 2)"),
    "classes_one_word": (task(classes="posneg"), "classes is posneg"),
    "temperature_no_number": (task(temperature="hot"), "temperature is hot"),
    "more_classes_than_outputs": (task(classes=["a", "b", "c"]), "gives 2 outputs where the run's task.json has 3"),
    "task_no_json": (write("task.json", "{"), "task.json is damaged"),
    "task_deep": (write("task.json", "[" * 100_000), "task.json is damaged: JSON nested too deeply"),
    "task_no_object": (write("task.json", "[]"), "task.json is damaged: it holds a list"),
    "report_no_object": (write("report.json", "3"), "report.json is damaged: it holds a int"),
    "report_deep": (write("report.json", '{"a":' * 50_000), "nested too deeply"),
    "report_of_nothing": (write("report.json", '{"status": "finished"}'), "no data.columns"),
    "report_columns": (change("report.json", data={"columns": {"text": 3}}), "names of columns that are words"),
    "report_scores": (change("report.json", scores=[1]), "no scores by split"),
    "report_backbone": (change("report.json", backbone={"sha256": 5}), "no backbone with its hash"),
    "report_linked": (link("report.json", "/etc/passwd"), "report.json is a link"),
    "model_linked": (link("model/config.json", "/etc/passwd"), "config.json is a link"),
    "pickle": (pickled("model/pytorch_model.bin"), "pytorch_model.bin is a pickle"),
    "code": (change("model/config.json", auto_map={"AutoModel": "evil.Evil"}), "auto_map"),
    "kernel": (change("model/config.json", _attn_implementation="someone/evil"), "someone/evil"),
    "weights_gone": (lambda run: (run / "model/model.safetensors").unlink(), "cannot be loaded"),
    "weights_reshaped": (lambda run: reshaped("word_embeddings", (600, 16))(run / "model"), "cannot be loaded"),
    "weights_missing": (
        lambda run: save_file({"x": np.zeros(3)}, run / "model/model.safetensors", {"format": "pt"}),
        "missing",
    ),
    "tokenizer_gone": (lambda run: (run / "model/tokenizer.json").unlink(), "model cannot be loaded"),
}

TUNED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "base_absolute": (
        change("model/adapter_config.json", base_model_name_or_path="/home/me/model"),
        "outside the folder",
    ),
    "base_above": (change("model/adapter_config.json", base_model_name_or_path="../../model"), "outside the folder"),
    "module": (change("model/adapter_config.json", megatron_config={"a": 1}), "names a module to be imported"),
    "library": (
        change("model/adapter_config.json", auto_mapping={"base_model_class": "system", "parent_library": "os"}),
        'names a module to be imported ("os")',
    ),
    "tokenizer": (change("model/adapter_config.json", tokenizer_name_or_path="someone/evil"), "another tokenizer"),
    "rank": (change("model/adapter_config.json", r=10**9), "says r is 1,000,000,000"),
    "rank_of_others": (change("model/adapter_config.json", r=7), "does not hold the weights"),
    "kind": (change("model/adapter_config.json", peft_type="EVIL"), "does not hold the weights"),
    "shape": (lambda run: reshaped("lora_A", (3, 3))(run / "model"), "does not hold the weights"),
    "pickle": (pickled("model/adapter_model.bin"), "adapter_model.bin is a pickle"),
    "weights_cut_off": (write("model/adapter_model.safetensors", b"\0"), "no safetensors file"),
    "recipe": (write("recipe.yaml", "task: !!python/object/apply:os.system [x]"), "recipe.yaml is no YAML"),
    "recipe_with_code": (
        write("recipe.yaml", "task: qa\nmodel: {name: x/y, trust_remote_code: true}"),
        "trust_remote_code",
    ),
    "backbone": (change("report.json", backbone={"id": "x", "sha256": "0" * 64}), "other weights"),
}


@pytest.mark.parametrize("name", [*RUNS, *(f"tuned_{name}" for name in TUNED)])
def test_a_run_from_strangers_is_refused_with_the_reason(
    name: str, whole: Run, tuned: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, (spoil, reason) = (
        (tuned, TUNED[name.removeprefix("tuned_")]) if name.startswith("tuned_") else (whole, RUNS[name])
    )
    folder = tmp_path / "run"
    shutil.copytree(theirs.folder, folder)
    spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["predict", str(folder), "a good text"]) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.startswith("nlp-transfer: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_of_ours_are_trusted_and_say_nothing_of_where_they_were_made(
    whole: Run, tuned: Run, tiny_bert: Path
) -> None:
    for run in (whole, tuned):
        assert load_run(run.folder).predict(["good"])
        for file in (run.folder / "model").glob("*.json"):
            assert str(tiny_bert.parent) not in file.read_text()
    saved = json.loads((tuned.folder / "model" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == tiny_bert.name


# comparisons

LINE = {
    "kind": "run",
    "candidate": "full",
    "status": "finished",
    "message": "",
    "scores": {"test": {"accuracy": 1.0}},
    "train_rows": 10,
    "seed": 0,
    "folder": "runs/a",
    "judged": "runs/a/predictions/test.safetensors",
    "key": "a",
}
PROTOCOL = {
    "schema": 1,
    "task": {"name": "classification"},
    "metric": "accuracy",
    "higher_is_better": True,
    "data": {},
    "reference": "full",
    "seeds": [0],
    "trials": 1,
    "flags": [],
}

COMPARISONS: dict[str, tuple[str, str, str]] = {
    "judged_elsewhere": ("results.jsonl", json.dumps({**LINE, "judged": "/etc/passwd"}), "judged leads out"),
    "run_above": ("results.jsonl", json.dumps({**LINE, "folder": "../../run"}), "folder leads out"),
    "line_no_object": ("results.jsonl", "[1]", "line 1: a JSON list"),
    "line_without_scores": ("results.jsonl", json.dumps({**LINE, "scores": None}), "line 1: scores is None"),
    "line_of_other_kinds": ("results.jsonl", json.dumps({**LINE, "seed": "x"}), "line 1: seed is x"),
    "line_deep": ("results.jsonl", "[" * 50_000 + "\n" + json.dumps(LINE), "line 1: no JSON"),
    "protocol_deep": ("protocol.json", "[" * 50_000, "nested too deeply"),
    "protocol_no_object": ("protocol.json", "[]", "holds a list"),
    "protocol_of_nothing": ("protocol.json", "{}", "does not say task"),
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_from_strangers_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    file, content, reason = COMPARISONS[name]
    for each, text in {"protocol.json": json.dumps(PROTOCOL), "results.jsonl": json.dumps(LINE), file: content}.items():
        (tmp_path / each).write_text(text)
    with pytest.raises(RequestError) as caught:
        Evidence.read(tmp_path)
    assert reason in str(caught.value)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    "protocol", [PROTOCOL, {**PROTOCOL, "recipe": [], "candidates": 3}, {"schema": 1}, {"schema": 2}]
)
def test_a_protocol_from_strangers_is_refused_before_anything_runs(protocol: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "protocol.json").write_text(json.dumps(protocol))
    (tmp_path / "results.jsonl").write_text("3\n")
    with pytest.raises(RequestError, match=r"protocol\.json"):
        read_protocol(tmp_path)
    assert Results(tmp_path).lines == {}


@pytest.mark.parametrize("family", families.FAMILIES)
def test_what_we_save_of_every_family_is_trusted_and_whole(family: str, tmp_path: Path) -> None:
    families.tiny(family).save_pretrained(tmp_path)
    refuse_untrusted(tmp_path)
    again = artefacts._whole(tmp_path, AutoModelForSequenceClassification, {})
    assert sum(parameter.numel() for parameter in again.parameters()) == stored_weights(tmp_path)


def test_no_recipe_can_ask_for_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "task: sentiment\ndata: rows.csv\nmodel: {name: x/y, trust_remote_code: true}\n"
    )
    assert cli.main(["train", "--config", str(tmp_path / "recipe.yaml")]) == 2
    assert 'model has no setting "trust_remote_code"' in capsys.readouterr().err


def test_loading_a_model_opens_no_socket(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket is opened"))
    Backbone.find(ModelSettings(str(tiny_bert))).model(AutoModel, {})


def test_a_file_that_goes_while_the_folder_is_looked_at_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of several processes lets go of a run's lock while the others load the finished run."""
    (tmp_path / ".lock").touch()
    (tmp_path / "report.json").touch()
    walk = os.walk

    def walk_and_lose(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for found in walk(folder):
            (tmp_path / ".lock").unlink()
            yield found

    monkeypatch.setattr(os, "walk", walk_and_lose)
    refuse_links(tmp_path)
    assert not (tmp_path / ".lock").exists()
