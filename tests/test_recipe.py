"""Recipe: flags and YAML in, one checked object out, and YAML again that reads as the same object."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, GPT2Config

from nlp_transfer import methods, tasks
from nlp_transfer.backbone import ModelSettings
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.errors import RequestError
from nlp_transfer.heads import HeadSettings
from nlp_transfer.methods.full import Full
from nlp_transfer.methods.head import Head
from nlp_transfer.models.pooled import PooledConfig
from nlp_transfer.recipe import Recipe
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.tasks.sentiment import Sentiment
from nlp_transfer.training.settings import TrainSettings


def from_flags(line, **given):
    return Recipe.from_flags(line.split(), **given)


@pytest.fixture
def from_yaml(tmp_path):
    def read(text):
        file = tmp_path / "recipe.yaml"
        file.write_text(text, encoding="utf-8")
        return Recipe.read(file)

    return read


@pytest.fixture(params=["flags", "yaml"])
def way(request, tmp_path):
    """The ways by which nested values become a recipe: both are held to the same answers."""

    def read(values):
        if request.param == "flags":
            words = []
            for section, inner in values.items():
                if isinstance(inner, dict):
                    words += [f"--{section}.{name}={setting}" for name, setting in inner.items()]
                else:
                    words.append(f"--{section}={inner}")
            return Recipe.from_flags(words)
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        return Recipe.read(file)

    return read


# what comes out


def test_the_least_recipe_has_every_default(way):
    expected = Recipe(task=Sentiment(), data=DataSettings("a.csv"))
    assert way({"task": "sentiment", "data": "a.csv"}) == expected
    assert expected.method == Full()
    assert expected.model == ModelSettings()
    assert expected.train == TrainSettings()
    assert expected.head == HeadSettings()
    assert expected.seed == 0


def test_every_section_is_read(way):
    recipe = way(
        {
            "task": {"name": "classification", "class_weights": "balanced"},
            "model": {"name": "roberta-base", "from_scratch": True},
            "method": "full",
            "data": {"source": "a.csv", "limit": 100, "test_fraction": 0.2, "skip_bad_rows": True},
            "columns": {"text": "review", "label": "1"},
            "head": {"pooling": "mean"},
            "train": {"epochs": 0.5, "max_steps": 10, "learning_rate": 3e-5, "schedule": "cosine", "precision": "fp32"},
            "seed": 7,
        }
    )
    assert recipe == Recipe(
        task=Classification(class_weights="balanced"),
        model=ModelSettings("roberta-base", from_scratch=True),
        method=Full(),
        data=DataSettings("a.csv", limit=100, test_fraction=0.2, skip_bad_rows=True),
        columns={"text": "review", "label": "1"},
        head=HeadSettings("mean"),
        train=TrainSettings(epochs=0.5, max_steps=10, learning_rate=3e-5, schedule="cosine", precision="fp32"),
        seed=7,
    )


@pytest.mark.parametrize("task", tasks.names())
@pytest.mark.parametrize("method", methods.names())
def test_every_task_goes_with_every_method(task, method):
    recipe = from_flags(f"--task {task} --method {method} --data a.csv")
    assert type(recipe.task) is tasks.find(task)
    assert type(recipe.method) is methods.find(method)


@pytest.mark.parametrize(
    ("line", "section", "name", "value"),
    [
        ("--data.skip_bad_rows", "data", "skip_bad_rows", True),
        ("--data.skip_bad_rows --seed 1", "data", "skip_bad_rows", True),
        ("--data.skip_bad_rows=false", "data", "skip_bad_rows", False),
        ("--train.clip null", "train", "clip", None),
        ("--train.learning_rate 2e-5", "train", "learning_rate", 2e-5),
        ("--train.trackers tensorboard,wandb", "train", "trackers", ("tensorboard", "wandb")),
        ("--train.trackers [tensorboard]", "train", "trackers", ("tensorboard",)),
        ("--task.labels b,a", "task", "labels", ("b", "a")),
        ("--task.labels 1,2", "task", "labels", ("1", "2")),
        ("--task.class_weights.bad 2", "task", "class_weights", {"bad": 2.0}),
        ("--data 2024", "data", "source", "2024"),
        ("--data.revision 1e5", "data", "revision", "1e5"),
        ("--model 123", "model", "name", "123"),
    ],
)
def test_words_of_flags_become_values(line, section, name, value):
    found = getattr(getattr(from_flags(f"--task classification {line}"), section), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "section", "name", "value"),
    [
        ("task: {name: classification, labels: [1, 2.5, a]}", "task", "labels", ("1", "2.5", "a")),
        ("task: {name: classification, labels: [x]}", "task", "labels", ("x",)),
        ("task: {name: classification, class_weights: {bad: 2}}", "task", "class_weights", {"bad": 2.0}),
        # YAML 1.1 reads this as a text, which nobody who writes it means
        ("task: classification\ntrain: {learning_rate: 1e-4}", "train", "learning_rate", 1e-4),
        ("task: classification\ntrain: {epochs: 2}", "train", "epochs", 2.0),
        ("task: classification\ntrain: {trackers: [wandb]}", "train", "trackers", ("wandb",)),
        ("task: classification\ndata: {source: a.csv, validation: b.csv}", "data", "validation", "b.csv"),
    ],
)
def test_values_of_yaml(from_yaml, text, section, name, value):
    assert getattr(getattr(from_yaml(text), section), name) == value


# flags over a file over defaults


def test_flags_lie_over_the_file_and_the_file_over_defaults(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("task: {name: sentiment, grades: two}\ntrain: {epochs: 2, clip: 3}\nseed: 5\n")
    said = []
    defaults = {"data": "default.csv", "seed": 4, "train": {"warmup": 0.5, "epochs": 9}}
    recipe = from_flags(f"--config {file} --train.epochs 1 --task.neutral positive", defaults=defaults, said=said)
    assert recipe == Recipe(
        task=Sentiment(grades="two", neutral="positive"),
        data=DataSettings("default.csv"),
        train=TrainSettings(epochs=1, clip=3, warmup=0.5),
        seed=5,
    )
    assert not said
    assert defaults == {"data": "default.csv", "seed": 4, "train": {"warmup": 0.5, "epochs": 9}}


def test_another_task_drops_the_settings_of_the_file_s_and_says_so(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("task: {name: sentiment, grades: two}\ndata: a.csv\ntrain: {epochs: 2}\n")
    said = []
    recipe = from_flags(f"--config {file} --task classification --task.labels b,a", said=said)
    assert recipe == Recipe(Classification(labels=("b", "a")), DataSettings("a.csv"), train=TrainSettings(epochs=2))
    [sentence] = said
    assert all(word in sentence for word in ("classification", "sentiment", "grades"))


def resolved_by_lora(tmp_path, **train):
    """The recipe of a run with lora, as its folder holds it."""
    recipe = Recipe.make(task="sentiment", method="lora", data="a.csv", train={"frozen": "bf16", **train})
    settled = {"learning_rate": recipe.train.learning_rate or recipe.method.default_learning_rate}
    recipe = replace(recipe, train=replace(recipe.train, **settled), head=HeadSettings("own"))
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    return tmp_path / "recipe.yaml"


def test_another_method_drops_what_the_file_s_had_settled_elsewhere_and_says_so(tmp_path):
    said = []
    recipe = from_flags(f"--config {resolved_by_lora(tmp_path, epochs=2)} --method head", said=said)
    assert recipe == Recipe(Sentiment(), DataSettings("a.csv"), method=Head(), train=TrainSettings(epochs=2))
    [sentence] = said
    assert all(
        word in sentence for word in ("rank", "train.learning_rate 0.001", "train.frozen bf16", "head.pooling own")
    )


def test_another_method_keeps_a_rate_that_is_not_the_replaced_one_s_own(tmp_path):
    file = resolved_by_lora(tmp_path, learning_rate=5e-4)
    assert from_flags(f"--config {file} --method full").train.learning_rate == 5e-4
    assert from_flags(f"--train.learning_rate 0.001 --config {file} --method full").train.learning_rate == 1e-3


def test_the_same_task_keeps_the_settings_of_the_file(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("task: {name: sentiment, grades: two}\n")
    said = []
    assert from_flags(f"--config {file} --task sentiment", said=said).task == Sentiment(grades="two")
    assert not said


@pytest.mark.parametrize("line", ["--config none.yaml", "--config.x 1", "--config"])
def test_a_config_that_is_no_file_is_refused(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"none\.yaml|--config|does not exist"):
        from_flags(f"--task sentiment {line}")


# unknown names


@pytest.mark.parametrize(
    ("values", "wrong", "meant"),
    [
        ({"task": "sentimental"}, "sentimental", "sentiment"),
        ({"task": "Sentiment"}, "Sentiment", "sentiment"),
        ({"task": "sentiment", "method": "ful"}, "ful", "full"),
        ({"task": "sentiment", "trian": {"epochs": 1}}, "trian", "train"),
        ({"task": "sentiment", "sed": 1}, "sed", "seed"),
        ({"task": "sentiment", "train": {"epoch": 1}}, "epoch", "epochs"),
        ({"task": "sentiment", "data": {"sorce": "a.csv"}}, "sorce", "source"),
        ({"task": "sentiment", "model": {"from_scrach": True}}, "from_scrach", "from_scratch"),
        ({"task": "sentiment", "head": {"poling": "cls"}}, "poling", "pooling"),
        ({"task": {"name": "sentiment", "grade": "two"}}, "grade", "grades"),
        ({"task": "sentiment", "method": {"nam": "full"}}, "nam", "name"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(way, values, wrong, meant):
    with pytest.raises(RequestError) as caught:
        way(values)
    assert f'"{wrong}"' in str(caught.value)
    assert f'Did you mean "{meant}"' in str(caught.value)


@pytest.mark.parametrize("name", sorted({"classes", "weights", "scale_read", "numbers_read"}))
def test_what_is_learned_from_rows_is_no_setting(way, name):
    with pytest.raises(RequestError, match=rf'task.*"{name}"'):
        way({"task": {"name": "sentiment", name: "x"}})


def test_a_setting_of_another_task_is_unknown(way):
    with pytest.raises(RequestError, match=r'task.*"grades"'):
        way({"task": {"name": "classification", "grades": "two"}})


@pytest.mark.parametrize(
    "text", ["task: sentiment\n1: a", "task: sentiment\ntrain: {on: a}", "task: sentiment\nnull: a"]
)
def test_names_that_yaml_reads_as_no_text_are_unknown_too(from_yaml, text):
    with pytest.raises(RequestError, match=r"There is"):
        from_yaml(text)


@pytest.mark.parametrize("values", [{"data": "a.csv"}, {"task": {"grades": "two"}}, {"seed": 1}])
def test_a_missing_task_is_named_with_what_there_is(way, values):
    with pytest.raises(RequestError) as caught:
        way(values)
    assert "--task" in str(caught.value)
    assert all(task in str(caught.value) for task in tasks.names())


# wrong values


@pytest.mark.parametrize(
    ("values", "setting", "word"),
    [
        ({"train": {"epochs": "many"}}, "train.epochs", "number"),
        ({"train": {"batch_size": 2.5}}, "train.batch_size", "whole number"),
        ({"train": {"max_steps": "x"}}, "train.max_steps", "whole number"),
        ({"train": {"gradient_checkpointing": "maybe"}}, "train.gradient_checkpointing", "true or false"),
        ({"train": {"schedule": "liner"}}, "train.schedule", "liner"),
        ({"train": {"precision": "fp8"}}, "train.precision", "fp8"),
        ({"head": {"pooling": "max"}}, "head.pooling", "max"),
        ({"task": {"name": "sentiment", "grades": "four"}}, "task.grades", "three"),
        ({"task": {"name": "sentiment", "class_weights": "blanced"}}, "task.class_weights", "balanced"),
        ({"task": {"name": "sentiment", "negative_to": "low"}}, "task.negative_to", "number"),
        ({"data": {"limit": "all"}}, "data.limit", "whole number"),
        ({"data": {"skip_bad_rows": 2}}, "data.skip_bad_rows", "true or false"),
        ({"seed": "x"}, "seed", "whole number"),
        ({"seed": 1.5}, "seed", "whole number"),
        ({"train": 3}, "train", "settings by name"),
        ({"columns": "review"}, "columns", "columns.text"),
        # out of range
        ({"train": {"epochs": 0}}, "train.epochs", "above 0"),
        ({"train": {"epochs": -1}}, "train.epochs", "above 0"),
        ({"train": {"batch_size": 0}}, "train.batch_size", "above 0"),
        ({"train": {"accumulate": -2}}, "train.accumulate", "above 0"),
        ({"train": {"learning_rate": 0.0}}, "train.learning_rate", "above 0"),
        ({"train": {"clip": -1.0}}, "train.clip", "above 0"),
        ({"train": {"patience": 0}}, "train.patience", "above 0"),
        ({"train": {"warmup": 1.0}}, "train.warmup", "below 1"),
        ({"train": {"dropout": -0.1}}, "train.dropout", "below 1"),
        ({"train": {"weight_decay": -0.1}}, "train.weight_decay", "0 or more"),
        ({"data": {"validation_fraction": 1.5}}, "data.validation_fraction", "between 0 and 1"),
        ({"data": {"max_length": 1}}, "data.max_length", "4 or more"),
        ({"data": {"limit": 1}}, "data.limit", "2 or more"),
        ({"task": {"name": "sentiment", "negative_to": 5.0}}, "task.negative_to", "positive_from"),
        ({"seed": -1}, "seed", "0 or more"),
        ({"seed": 2**32}, "seed", "2**32"),
    ],
)
def test_a_wrong_value_is_named_with_its_setting_and_what_is_expected(way, values, setting, word):
    with pytest.raises(RequestError) as caught:
        way({"task": "sentiment", **values})
    message = str(caught.value)
    assert setting in message
    assert word in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("seed: null", "seed"),
        ("seed: true", "seed"),
        ("train: null", "train"),
        ("train: [1]", "train"),
        ("train: {epochs: null}", "train.epochs"),
        ("train: {epochs: [1]}", "train.epochs"),
        ("train: {batch_size: true}", "train.batch_size"),
        ("train: {weight_decay: null}", "train.weight_decay"),
        ("train: {trackers: null}", "train.trackers"),
        ("train: {trackers: 3}", "train.trackers"),
        ("data: {validation_fraction: null}", "data.validation_fraction"),
        ("data: {revision: 123}", "data.revision"),
        ("model: null", "model.name"),
        ("head: {pooling: null}", "head.pooling"),
        ("columns: null", "columns"),
        ("columns: {label: 1}", "columns"),
        ("columns: [text]", "columns"),
    ],
)
def test_kinds_of_values_that_only_yaml_has_are_refused(from_yaml, text, setting):
    with pytest.raises(RequestError) as caught:
        from_yaml(f"task: sentiment\n{text}\n")
    assert setting in str(caught.value)
    assert "expected" in str(caught.value)


# from Python


ROWS = [{"text": "good", "label": "positive"}, {"text": "bad", "label": "negative"}]


def test_objects_words_and_dicts_may_be_mixed():
    recipe = Recipe.make(
        task=Sentiment(grades="two"),
        method="full",
        data="a.csv",
        train=TrainSettings(epochs=1),
        head={"pooling": "cls"},
    )
    assert recipe == Recipe(
        Sentiment(grades="two"), DataSettings("a.csv"), train=TrainSettings(epochs=1), head=HeadSettings("cls")
    )


@pytest.mark.parametrize("source", [ROWS, tuple(ROWS), {"train": ROWS, "test": ROWS}])
def test_rows_in_memory_stay_the_same_object(source):
    assert Recipe.make(task="sentiment", data=source).data.source is source


def test_rows_in_memory_with_settings_beside_them():
    recipe = Recipe.make(task="sentiment", data={"source": ROWS, "limit": 2, "test": ROWS})
    assert recipe.data.source is ROWS
    assert recipe.data.limit == 2
    assert recipe.data.test == ROWS


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dta": "a.csv"}, ['"dta"', 'Did you mean "data"']),
        ({"task": "sentimental"}, ['Did you mean "sentiment"']),
        ({"train": {"epoch": 1}}, ['Did you mean "epochs"']),
        ({"train": {"epochs": "many"}}, ["train.epochs", "number"]),
        ({"data": {"source": "a.csv", "limit": 1}}, ["data.limit"]),
        ({"data": {"source": ROWS, "lmit": 3}}, ['Did you mean "limit"']),
    ],
)
def test_python_values_are_checked_as_yaml_is(values, words):
    with pytest.raises(RequestError) as caught:
        Recipe.make(**{"task": "sentiment", **values})
    assert all(word in str(caught.value) for word in words)


def test_none_is_the_default():
    assert Recipe.make(task="sentiment", data="a.csv", model=None, train=None) == Recipe.make(
        task="sentiment", data="a.csv"
    )


def test_a_fitted_task_stays_fitted():
    task = Classification(classes=("a", "b"))
    assert Recipe.make(task=task, data="a.csv").task is task


# YAML again

shares = st.floats(0.01, 0.45)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
# a word such as "null" means nothing here, as it does on the command line
sources = names.map(lambda name: f"data/{name}.csv")
positive = st.floats(1e-6, 1e6)
counts = st.integers(1, 10**6)
class_weights = st.one_of(
    st.sampled_from(["none", "balanced"]), st.dictionaries(names, positive, min_size=1, max_size=3)
)

recipes = st.builds(
    Recipe,
    task=st.one_of(
        st.builds(
            Classification, labels=st.none() | st.lists(names, min_size=2).map(tuple), class_weights=class_weights
        ),
        st.builds(
            Sentiment,
            class_weights=class_weights,
            scale=st.sampled_from(["auto", "stars"]),
            grades=st.sampled_from(["auto", "two", "five"]),
            negative_to=st.floats(1, 2),
            positive_from=st.floats(3, 5),
        ),
    ),
    data=st.builds(
        DataSettings,
        source=sources,
        validation=st.none() | sources,
        subset=st.none() | sources,
        limit=st.none() | st.integers(2, 10**9),
        max_length=st.none() | st.integers(4, 10**5),
        validation_fraction=shares,
        test_fraction=shares,
        skip_bad_rows=st.booleans(),
    ),
    model=st.builds(ModelSettings, name=sources, revision=st.none() | sources, from_scratch=st.booleans()),
    columns=st.dictionaries(st.sampled_from(["text", "label"]), names),
    head=st.builds(HeadSettings, pooling=st.sampled_from(["auto", "own", "cls", "mean", "last"])),
    train=st.builds(
        TrainSettings,
        epochs=positive,
        max_steps=st.none() | counts,
        batch_size=counts,
        learning_rate=st.none() | positive,
        clip=st.none() | positive,
        warmup=shares,
        schedule=st.sampled_from(["linear", "cosine", "constant"]),
        trackers=st.lists(st.sampled_from(["wandb", "mlflow"])).map(tuple),
    ),
    seed=st.integers(0, 2**32 - 1),
)


@pytest.mark.parametrize("name", ["data/: .csv", "[1].csv", "{a: b}", "12", "true"])
def test_a_name_of_a_file_that_reads_as_yaml_is_a_name(tmp_path, name):
    made = Recipe.make(task="sentiment", data={"source": name, "validation": name, "test": name})
    (tmp_path / "recipe.yaml").write_text(made.to_yaml(), encoding="utf-8")
    again = Recipe.read(tmp_path / "recipe.yaml")
    assert {again.data.source, again.data.validation, again.data.test} == {name}


@settings(deadline=None, database=None, max_examples=25)
@given(recipes)
def test_a_recipe_written_as_yaml_reads_as_itself(tmp_path_factory, recipe):
    file = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    file.write_text(recipe.to_yaml(), encoding="utf-8")
    again = Recipe.read(file)
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()


@pytest.mark.parametrize(
    "word",
    ["123", "1.5", "true", "yes", "2024-01-01", "null", "~", "[a]", "{a: b}", "a: b", "1e5", "0x1f", "#a", " a "],
)
def test_texts_that_look_like_other_values_stay_texts(tmp_path, word):
    recipe = Recipe(
        task=Classification(labels=(word, "b"), class_weights={word: 2.0}),
        data=DataSettings("a.csv"),
        columns={"text": word},
    )
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.read(file) == recipe


def test_yaml_leaves_nothing_out_and_learned_values_away():
    values = yaml.safe_load(Recipe(Sentiment(classes=("negative", "positive")), DataSettings(Path("a.csv"))).to_yaml())
    assert list(values) == ["model", "task", "method", "data", "columns", "head", "train", "seed"]
    assert values["task"]["name"] == "sentiment"
    assert "classes" not in values["task"]
    assert values["data"]["source"] == "a.csv"
    assert set(values["train"]) == {field.name for field in dataclasses.fields(TrainSettings)}


def test_rows_in_memory_are_written_as_a_remark():
    values = yaml.safe_load(Recipe.make(task="sentiment", data={"source": ROWS, "test": ROWS}).to_yaml())
    assert "memory" in values["data"]["source"]
    assert "memory" in values["data"]["test"]


# automatic values


class Reads512:
    """Of a backbone what a recipe asks it: its name, at which commit it was found, and how much it reads."""

    name = "reads-512"
    settings = ModelSettings()
    config = BertConfig()
    revision = "0" * 40

    def max_length(self, cap=True):
        return 256 if cap else 512


def test_resolving_settles_every_automatic_value():
    recipe = Recipe(Sentiment(), DataSettings("a.csv"))
    resolved = recipe.resolved(Reads512(), torch.device("cpu"))
    assert resolved.train.learning_rate == Full.default_learning_rate
    houlsby = replace(recipe, method=methods.find("adapter")(placement="houlsby"))
    assert houlsby.resolved(Reads512(), torch.device("cpu")).train.learning_rate == 1e-3
    assert resolved.train.precision in ("fp32", "bf16")
    assert resolved.data.max_length == 256
    assert resolved.model.revision == Reads512.revision
    assert resolved.head.pooling == "own"
    assert resolved.resolved(Reads512(), torch.device("cpu")) == resolved


def test_the_pooling_that_auto_stands_for():
    def pooling(method, config, given="auto"):
        backbone = Reads512()
        backbone.config = config
        recipe = Recipe(Sentiment(), DataSettings("a.csv"), method=methods.find(method)(), head=HeadSettings(given))
        return recipe.resolved(backbone, torch.device("cpu")).head.pooling

    assert pooling("head", BertConfig()) == "mean"
    assert pooling("head", GPT2Config()) == "own"
    assert pooling("head", PooledConfig(backbone_config=BertConfig())) == "own"
    assert pooling("head", BertConfig(), "cls") == "cls"
    assert pooling("full", BertConfig()) == "own"


def test_resolving_keeps_what_was_given_and_refuses_texts_too_long():
    given_values = {
        "train": TrainSettings(learning_rate=1.0, precision="fp32", frozen="fp32"),
        "head": HeadSettings("last"),
    }
    found = ModelSettings(revision=Reads512.revision)
    recipe = Recipe(Sentiment(), DataSettings("a.csv", max_length=512), found, **given_values)
    assert recipe.resolved(Reads512(), torch.device("cpu")) == recipe
    long = Recipe(Sentiment(), DataSettings("a.csv", max_length=513))
    with pytest.raises(RequestError, match=r"data\.max_length.*513.*512"):
        long.resolved(Reads512(), torch.device("cpu"))
