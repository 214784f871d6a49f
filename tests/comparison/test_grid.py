"""What a comparison runs, and how methods are spelled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nlp_transfer import Recipe, RequestError
from nlp_transfer.backbone import ModelSettings
from nlp_transfer.comparison.grid import Grid, candidates, label, spelled
from nlp_transfer.comparison.layout import Layout, lay_out, read
from nlp_transfer.comparison.protocol import Protocol
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.splits import load
from nlp_transfer.methods.adapter import Adapter
from nlp_transfer.methods.lora import LoRA
from nlp_transfer.tasks.qa import QA

BASE = Recipe.make(task="sentiment", data="reviews.csv")
LAYOUT = Layout("f" * 64, {"train": 100, "validation": 10, "test": 10}, {"text": "review", "label": "stars"}, [])


def labels(chosen: Any, models: Sequence[str] | str | None = None, from_scratch: bool = False) -> list[str]:
    return [each.label for each in candidates(BASE, chosen, models, from_scratch)]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("full,head", ["full", "head"]),
        ("lora:rank=4,alpha=8,head", ["lora:rank=4,alpha=8", "head"]),
        ("lora,rank=4", ["lora:rank=4"]),
        (
            "lora:targets=[query,value],adapter:placement=houlsby",
            ["lora:targets=[query,value]", "adapter:placement=houlsby"],
        ),
        (" full , , head ", ["full", "head"]),
    ],
)
def test_methods_are_spelled_in_one_list(words: str, parts: list[str]) -> None:
    assert spelled(words) == parts


def test_the_label_is_a_spelling_of_the_same_method() -> None:
    chosen = ["full", "lora:targets=[query,value],rank=4", {"name": "adapter", "reduction_factor": 4}, LoRA(plus=16.0)]
    found = candidates(BASE, chosen, None, False)
    assert [each.label for each in found] == [
        "full",
        "lora:rank=4,targets=[query,value]",
        "adapter:reduction_factor=4",
        "lora:plus=16",
    ]
    assert found[1].method == LoRA(rank=4, targets=("query", "value"))
    again = candidates(BASE, ",".join(each.label for each in found), None, False)
    assert again == found
    assert label(Adapter()) == "adapter"


def test_models_and_from_scratch_make_more_candidates() -> None:
    assert labels("full,head", from_scratch=True) == ["full", "head", "full from scratch"]
    assert labels("full,head", "a,b") == ["a full", "a head", "b full", "b head"]
    assert candidates(BASE, "head", None, True)[1].model.from_scratch


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("full,lara", 'there is no method "lara". Did you mean "lora"?'),
        ("lora:ranc=4", 'method has no setting "ranc". Did you mean "rank"?'),
        ("lora:rank=many", "method.rank is 'many': expected a whole number"),
        ("lora:rank", "expected a spelling such as lora:rank=4"),
        ([3], "3 is no method"),
    ],
)
def test_what_is_wrong_is_answered_as_flags_are(chosen: Any, message: str) -> None:
    with pytest.raises(RequestError, match=".*".join(message.split(" ")[:4])) as error:
        labels(chosen)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"chosen": "lora,lora:rank=8"}, "the candidate lora is named twice"),
        ({"seeds": (1, 1)}, "the seed 1 is named twice"),
        ({"seeds": ()}, "nothing to compare"),
        ({"chosen": ""}, "nothing to compare"),
        ({"trials": 0}, "trials is 0"),
        ({"trial_rows": 0}, "trial_rows is 0"),
        ({"train": {"learning_rate": 1e-3}}, "one rate for all methods"),
        ({"train": {"patience": 2}}, "all methods get equal steps"),
        ({"train": {"max_minutes": 2}}, "all methods get equal steps"),
    ],
)
def test_a_grid_that_would_be_unfair_or_empty_is_refused(parts: dict[str, Any], message: str) -> None:
    base = Recipe.make(task="sentiment", data="reviews.csv", train=parts.pop("train", {}))
    with pytest.raises(RequestError, match=message):
        Grid(base, candidates(base, parts.pop("chosen", "full"), None, False), **parts)


def test_the_reference_is_full_fine_tuning_where_it_is_compared() -> None:
    assert Grid(BASE, candidates(BASE, "head,full", None, False)).reference == "full"
    assert Grid(BASE, candidates(BASE, "head,full:layer_decay=0.9", None, True)).reference == "head"


def test_sizes_beyond_the_rows_are_refused() -> None:
    grid = Grid(BASE, candidates(BASE, "full", None, False), train_sizes=(50, 200))
    assert list(grid.sizes(200)) == [50, 200]
    with pytest.raises(RequestError, match="200 is more than there is: 100"):
        grid.sizes(100)


def protocol(chosen: str, **parts: Any) -> Protocol:
    grid = Grid(BASE, candidates(BASE, chosen, None, True), **parts)
    return Protocol(grid, LAYOUT, {"majority": "majority class"}, forgetting=True)


def test_a_protocol_comes_back_from_its_file() -> None:
    written = protocol("full,lora:rank=4", seeds=(3, 4), train_sizes=(10, 50), trial_rows=20)
    assert Protocol.from_json(written.to_json()) == written


def test_a_protocol_without_the_rows_of_trials_is_one_whose_trials_read_all() -> None:
    values = protocol("full").to_json()
    del values["trial_rows"]
    assert Protocol.from_json(values).grid.tried(100) == 100


def test_methods_seeds_and_sizes_can_be_added_and_nothing_else_changed() -> None:
    first = protocol("full,head", seeds=(0, 1))
    both = first.with_more(protocol("lora,full", seeds=(1, 2), train_sizes=(10,)), Path("there")).grid
    assert [each.label for each in both.candidates] == ["full", "head", "full from scratch", "lora"]
    assert both.seeds == (0, 1, 2)
    assert both.train_sizes == (100, 10)
    with pytest.raises(RequestError, match="trials is 3 there and 5 here"):
        first.with_more(protocol("full", trials=5), Path("there"))
    with pytest.raises(RequestError, match="trial_rows is None there and 20 here"):
        first.with_more(protocol("full", trial_rows=20), Path("there"))
    other = replace(first, layout=replace(LAYOUT, fingerprint="0" * 64))
    with pytest.raises(RequestError, match=r"the data's fingerprint is 'fff.* there and '000"):
        first.with_more(other, Path("there"))


def test_a_candidate_is_its_method_and_its_model_whatever_it_is_called() -> None:
    first = with_models("one")
    assert [each.label for each in with_models("one").grid.candidates] == ["full"]
    assert first.with_more(with_models("one", "two"), Path("there")).grid.candidates == (
        *first.grid.candidates,
        *with_models("one", "two").grid.candidates[1:],
    )
    both = first.with_more(with_models("two"), Path("there"))
    assert [(each.label, each.model.name) for each in both.grid.candidates] == [("full", "one"), ("two full", "two")]
    assert both.with_more(with_models("two"), Path("there")).grid == both.grid
    newer = replace(with_models("two").grid.candidates[0], model=ModelSettings("two", revision="abc"))
    other = replace(first, grid=replace(first.grid, candidates=(newer,)))
    added = both.with_more(other, Path("there")).grid.candidates[-1]
    assert (added.label, added.model) == ("two full at abc", newer.model)


def with_models(*names: str) -> Protocol:
    grid = Grid(BASE, candidates(replace(BASE, model=ModelSettings(names[0])), "full", names[1:] and names, False))
    return Protocol(grid, LAYOUT, {}, forgetting=True)


def test_what_was_doubtful_about_the_rows_is_kept_in_the_protocol(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    lines = [f"{'good' if i % 2 else 'bad'} thing number {i},{i % 2}" for i in range(40)]
    file.write_text("\n".join(["text,label", *lines, lines[0], ",1"]), encoding="utf-8")
    base = Recipe.make(task="classification", data={"source": str(file), "skip_bad_rows": True})
    laid, _ = read(base)
    assert [(each["kind"], each["rows"][0].partition(", ")[2], each.get("reasons")) for each in laid.warnings] == [
        ("bad_rows", "line 43", ['column "text": the cell is empty']),
        ("duplicate_rows", "line 42", None),
    ]
    protocol = Protocol(Grid(base, tuple(candidates(base, "full", None, False)), (0,)), laid, {}, forgetting=False)
    assert Protocol.from_json(protocol.to_json()).layout == laid


def test_rows_laid_out_are_read_as_they_were(tmp_path: Path) -> None:
    """Also a column that only some splits have: an id, or where an answer begins."""
    row = {"question": "What?", "context": "tea and tea", "answer": "tea"}
    source = {"train": [row], "validation": [{**row, "answer_start": 8}], "test": [{**row, "id": 7, "answer_start": 0}]}
    settings = DataSettings(source)
    data = load(settings, {}, QA(), seed=0)
    lay_out(settings, data, tmp_path)
    files = {name: str(tmp_path / "data" / f"{name}.jsonl") for name in source}
    again = DataSettings(files["train"], validation=files["validation"], test=files["test"])
    assert load(again, data.columns, QA(), seed=0).fingerprint == data.fingerprint


@pytest.mark.parametrize("tests", [10, 40])
def test_every_split_in_memory_is_laid_out_from_its_own_rows(tmp_path: Path, tests: int) -> None:
    splits = {"train": 20, "test": tests}
    rows = {
        name: [{"text": f"{name} {i}", "label": "pn"[i % 2]} for i in range(count)] for name, count in splits.items()
    }
    recipe = Recipe.make(task="sentiment", data={"source": rows["train"], "test": rows["test"]})
    laid, data = read(recipe)
    lay_out(recipe.data, data, tmp_path)
    for name, of in (("train", "train"), ("validation", "train"), ("test", "test")):
        lines = (tmp_path / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == laid.rows[name]
        assert all(json.loads(line)["text"].startswith(of) for line in lines)


def test_a_model_under_the_home_folder_is_named_without_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    found = candidates(BASE, "full", ["/home/ada/models/bert", "minilm"], from_scratch=True)
    assert [each.model.name for each in found] == ["~/models/bert"] * 2 + ["minilm"] * 2
    assert found[0].label == "~/models/bert full"
    base = replace(BASE, model=ModelSettings("/home/ada/models/bert"))
    assert candidates(base, "full", None, from_scratch=False)[0].model.name == "~/models/bert"
