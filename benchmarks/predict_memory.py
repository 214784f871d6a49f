"""Memory of predicting a file with a tiny model: peak and speed by number of rows, each in a fresh process."""

from __future__ import annotations

import argparse
import random
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import RESULTS, Figures, answer, describe_environment, in_fresh_process, peak_rss_bytes, wide_console
from rich.table import Table
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast, set_seed

from nlp_transfer import fine_tune, load_run, predict_file
from nlp_transfer.quiet import quiet
from nlp_transfer.report import write_json

ROWS = (10_000, 100_000, 1_000_000)
WORDS = ("slow", "late", "cold", "broken", "dull", "quick", "warm", "bright", "kind", "fresh", "the", "room", "was")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--form", default="csv", help="form of both files")
    parser.add_argument("--output", type=Path, default=RESULTS / "predict-memory.json")
    parser.add_argument("--run", type=Path, help="measure this run on --data, in this process")
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    if arguments.run:
        answer(measure, arguments)
        return
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = tiny_run(folder)
        figures = []
        for rows in sorted(arguments.rows):
            data = folder / f"{rows}.csv"
            write_texts(data, rows)
            if arguments.form != "csv":
                data = in_form(data, arguments.form)
            figures.append(in_fresh_process(Path(__file__).name, {"run": run, "data": data}))
            data.unlink()
    machine = describe_environment()
    model = "BERT of one block, hidden size 16, random weights"
    write_json(arguments.output, {"model": model, "form": arguments.form, "figures": figures, "environment": machine})
    show(figures)


def measure(arguments: argparse.Namespace) -> Figures:
    """Predict a file with a run in this process."""
    run = load_run(arguments.run)
    target = arguments.data.with_name(f"answers-{arguments.data.name}")
    done = predict_file(run, arguments.data, target)
    sizes: dict[str, Any] = {"input_bytes": arguments.data.stat().st_size, "output_bytes": target.stat().st_size}
    target.unlink()
    return {"rows": done.rows, "rows_per_second": done.rows_per_second, "peak_rss_bytes": peak_rss_bytes(), **sizes}


def show(figures: list[Figures]) -> None:
    """The figures as a table."""
    table = Table("rows", "peak MiB", "rows/s", "seconds", "file MiB")
    for row in figures:
        seconds = row["rows"] / row["rows_per_second"]
        cells = (row["peak_rss_bytes"] / 2**20, row["rows_per_second"], seconds, row["input_bytes"] / 2**20)
        table.add_row(f"{row['rows']:,}", *(f"{cell:,.0f}" for cell in cells))
    wide_console().print(table)


def texts(rows: int) -> list[str]:
    """Some short texts."""
    generator = random.Random(0)
    return [" ".join(generator.choices(WORDS, k=generator.randint(3, 20))) for _ in range(rows)]


def write_texts(path: Path, rows: int) -> None:
    """A file of rows with a number and a short text."""
    made = texts(1000)
    with path.open("w", encoding="utf-8") as file:
        file.write("id,text\n")
        file.writelines(f"{i},{made[i * 7919 % 1000]} {i}\n" for i in range(rows))


def in_form(data: Path, form: str) -> Path:
    """The same rows in another form."""
    from nlp_transfer.data import streams, writers

    target = data.with_suffix(f".{form}")
    with (
        streams.stream(data, ".csv") as stream,
        writers.writing(target, writers.check(target), ["id", "text"]) as write,
    ):
        for window in stream.windows:
            write(window.records)
    data.unlink()
    return target


def tiny_model(folder: Path) -> None:
    """A BERT that is hardly one, and its tokenizer."""
    vocabulary = {word: i for i, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    size: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    set_seed(0)
    with quiet():
        model = AutoModel.from_config(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **size))
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)


def tiny_run(folder: Path) -> Path:
    """A run of a tiny model that learned next to nothing."""
    tiny_model(folder / "tiny")
    labels = ("bad", "good")
    rows = [{"text": text, "label": labels[i % 2]} for i, text in enumerate(islice(texts(1000), 200))]
    train = {"max_steps": 2, "learning_rate": 1e-3}
    model_name = str(folder / "tiny")
    output = folder / "run"
    return fine_tune(task="classification", data=rows, model=model_name, train=train, output=output, silent=True).folder


if __name__ == "__main__":
    main()
