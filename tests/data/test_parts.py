"""Parts: a split in several Parquet files is one table, or is refused with what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from nlp_transfer.data import columns, parquet
from nlp_transfer.data.columns import LargeColumns
from nlp_transfer.data.settings import DataSettings
from nlp_transfer.data.sources import open_source
from nlp_transfer.data.splits import load
from nlp_transfer.errors import RequestError
from nlp_transfer.rows import column
from nlp_transfer.tasks.classification import Classification

TEXTS = [f"a text of day {i}" for i in range(30)]
LABELS = [("dry", "wet")[i % 2] for i in range(30)]


def write(folder: Path, name: str, start: int, end: int, **cells: Any) -> None:
    cells = {"text": TEXTS[start:end], "label": LABELS[start:end], **cells}
    pyarrow.parquet.write_table(pyarrow.table(cells), folder / name)


@pytest.fixture(params=[False, True], ids=["small", "large"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Training rows in three parts, test rows in one."""
    if request.param:
        monkeypatch.setattr(parquet, "LEAST", 0)
        monkeypatch.setattr(columns, "MANY", 20)
        monkeypatch.setattr(columns, "WINDOW", 4)
    for part, (start, end) in enumerate([(0, 10), (10, 15), (15, 24)]):
        write(tmp_path, f"train-{part:05}-of-00003.parquet", start, end)
    write(tmp_path, "test-00000-of-00001.parquet", 24, 30)
    return tmp_path


def test_parts_are_one_table_in_their_order(folder: Path, request: pytest.FixtureRequest) -> None:
    tables = open_source(folder)
    assert isinstance(tables["train"].columns, LargeColumns) == ("large" in request.node.name)
    assert tables["train"].columns["text"] == TEXTS[:24]
    assert (len(tables["train"]), len(tables["test"])) == (24, 6)
    data = load(DataSettings(str(folder), validation_fraction=0.2), {}, Classification(), seed=0)
    kept = sorted(column(data.splits["train"].rows, "text") + column(data.splits["validation"].rows, "text"))
    assert kept == sorted(TEXTS[:24])


def test_a_bad_row_of_a_later_part_is_counted_through(folder: Path) -> None:
    write(folder, "train-00001-of-00003.parquet", 10, 15, text=["x", "", "y", "z", "w"])
    with pytest.raises(RequestError, match=r"train-\*-of-00003\.parquet, row 12, column \"text\""):
        load(DataSettings(str(folder)), {}, Classification(), seed=0)


def test_a_part_that_speaks_of_more_rows_than_it_has_is_refused(folder: Path) -> None:
    part = folder / "train-00001-of-00003.parquet"
    content = part.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    # the number of rows, 5, as the footer writes it; then 6
    part.write_bytes(content[:-footer] + content[-footer:].replace(b"\x16\x0a", b"\x16\x0c", 1))
    assert pyarrow.parquet.read_metadata(part).num_rows == 6
    with pytest.raises(RequestError, match=r"00001-of-00003\.parquet speaks of 6 rows, and has 5"):
        load(DataSettings(str(folder)), {}, Classification(), seed=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "train-00001-of-00003.parquet").unlink(), ["2 of the 3 parts", "00001", "missing"]),
        (lambda folder: write(folder, "train-00003-of-00004.parquet", 0, 3), ["which is the train split"]),
        (lambda folder: write(folder, "train.parquet", 0, 3), ["which is the train split"]),
        (
            lambda folder: write(folder, "train-00002-of-00003.parquet", 0, 3, label=[0, 1, 0]),
            ["00002", "other columns", "label (int64)", "label (string)"],
        ),
        (lambda folder: (folder / "train-00002-of-00003.parquet").write_text("no"), ["00002", "no Parquet file"]),
        (
            lambda folder: (folder / "train-00002-of-00003.parquet").rename(folder / "train-00002-of-00003.csv"),
            ["00002-of-00003.csv", "no Parquet file", "one file"],
        ),
    ],
    ids=["missing", "another_count", "whole_beside", "another_schema", "no_parquet", "another_form"],
)
def test_parts_that_are_no_whole_are_refused(folder: Path, change: Any, words: list[str]) -> None:
    change(folder)
    with pytest.raises(RequestError) as refused:
        open_source(folder)
    assert [word for word in words if word not in str(refused.value)] == []
