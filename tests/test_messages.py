"""Messages that led the wrong way once: each names what is wrong, and what it advises can be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlp_transfer import RequestError, cli
from nlp_transfer.backbone import Backbone, ModelSettings
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.heads import load_with_head
from nlp_transfer.long_texts import LongTexts
from nlp_transfer.methods.prompt import Prompt
from nlp_transfer.recipe import Recipe
from nlp_transfer.tasks.classification import Classification
from nlp_transfer.tasks.entities import Entities
from nlp_transfer.tasks.multi_label import MultiLabel
from nlp_transfer.tasks.regression import Regression

FLAGS = [{"text": f"text {i}", "food": i % 2, "room": i % 3 % 2, "staff": 1} for i in range(12)]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("food,room,stafff", 'has no column "stafff". Did you mean "staff"'),
        ("food,room,", "comma with no name beside it"),
        ("food,food,room", '"food" twice'),
        (None, "--columns.labels NAME, or --columns.labels A,B,C where each of them has a column of 0 and 1"),
    ],
)
def test_columns_of_labels_are_named_one_by_one(named: str | None, said: str) -> None:
    with pytest.raises(RequestError, match="labels") as caught:
        load(DataSettings(FLAGS), {"labels": named} if named else {}, MultiLabel(), 0)
    assert said in str(caught.value)


def test_one_column_of_flags_is_doubtful() -> None:
    data = load(DataSettings(FLAGS), {"labels": "food"}, MultiLabel(), 0)
    [warning] = [warning for warning in data.warnings if warning.kind == "flags_as_labels"]
    assert "--columns.labels A,B,C" in warning.message


def test_one_label_is_not_said_of_rows_that_have_none() -> None:
    rows = [{"text": f"text {i}", "labels": ["food"][: i % 2]} for i in range(12)]
    with pytest.raises(RequestError, match="training rows have one label, food, and no other"):
        load(DataSettings(rows), {}, MultiLabel(), 0)


def test_the_wrong_name_is_the_one_that_is_told() -> None:
    rows = [{"premise": f"one {i}", "hypothesis": "two", "label": "ab"[i % 2]} for i in range(12)]
    with pytest.raises(RequestError, match=r'^--columns.text_pair: data has no column "hypo"'):
        load(DataSettings(rows), {"text_pair": "hypo"}, Classification(), 0)


def test_a_decimal_comma_is_advised_where_it_helps() -> None:
    assert "--task.decimal ," in str(Regression().fault("target", "3,5"))
    assert "--task.decimal" not in str(Regression().fault("target", "1,234.5"))
    finished = Regression(mean=1.0, deviation=2.0, margin=0.5)
    assert "--task.decimal" not in str(finished.fault("target", "3,5"))
    assert "write 3.5" in str(finished.fault("target", "3,5"))
    assert "NaN" in str(Regression().fault("target", float("nan")))


def test_a_prompt_on_entities_is_not_advised_to_pool(tiny_bert: Path) -> None:
    rows = [{"tokens": ["Ada", "came"], "tags": ["B-PER", "O"]}] * 12
    task = load(DataSettings(rows), {}, Entities(), 0).task
    loaded = load_with_head(Backbone.find(ModelSettings(str(tiny_bert))), *task.head(), "own")
    with pytest.raises(RequestError, match="use the methods prefix or lora"):
        Prompt().apply(loaded.model, loaded.head)


def test_a_window_without_room_says_how_much_is_lacking() -> None:
    with pytest.raises(RequestError, match="room for 1 tokens of both texts: raise it by 1 or more"):
        LongTexts(long_texts="windows").parts([5, 5], 1)


def test_names_of_columns_say_their_form() -> None:
    with pytest.raises(RequestError, match=r'columns.labels: "food,room,staff"'):
        Recipe.make(task="multi_label", data="x.csv", columns={"labels": ["food", "room"]})


def test_columns_are_among_the_flags_of_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "run", "--data", "x", "--column", "y"]) == 2
    assert "--columns.NAME" in capsys.readouterr().err
