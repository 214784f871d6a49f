"""What stands beside a graph: how it is asked and what it answers, as numbers and as a program that does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Template

from nlp_transfer import texts
from nlp_transfer.long_texts import LongTexts
from nlp_transfer.questions import windows
from nlp_transfer.recipe import Recipe
from nlp_transfer.runs import Run

TEMPLATE = Path(__file__).with_name("example.py.jinja")

USAGE = {"question": '"a question" "its context"', "pairs": '"a text" "its pair"', "texts": '"a text" "another"'}


def described(run: Run, inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    """What whoever loads a graph must know besides the fitted task: what it reads and how, what it gives.

    Args:
        run: the graph's.
        inputs: the graph's, by name.
        outputs: the graph's, by name.
    """
    config: Any = run.model.config
    reads, tokenizer = _reads(run), run.tokenizer
    joined = reads == "pairs" and not texts.separates(tokenizer)
    before, _, after = texts.Frame.of(tokenizer, paired=False).ids if joined or _long(run) else ([], [], [])
    if reads == "question":
        before, after = windows.around(tokenizer)
    return {
        "task": run.task.name,
        "labels": [config.id2label[i] for i in range(config.num_labels)],
        "problem": config.problem_type,
        "temperature": getattr(run.task, "temperature", 1.0),
        "inputs": inputs,
        "outputs": outputs,
        "max_length": Recipe.read(run.folder / "recipe.yaml").data.max_length,
        "pad_token_id": tokenizer.pad_token_id,
        "pad_token": tokenizer.pad_token,
        "special_tokens": windows.separates(tokenizer) if reads == "question" else not joined,
        "before": before,
        "after": after,
        "between": texts.BETWEEN if joined else "",
        "template": windows.prompt("{question}", tokenizer),
        "stride": windows.overlap(tokenizer, getattr(run.task, "stride", 0)) if reads == "question" else 0,
        "question": windows.longest_question(tokenizer) if reads == "question" else 0,
        "null": tokenizer.cls_token_id,
    }


def example(run: Run) -> str | None:
    """The source of a program that asks the graph, for what the run reads and what its head gives.

    None where more is needed than a page: windows of two texts, the words of a text, and a tokenizer in Python.
    """
    if not run.tokenizer.is_fast:
        return None
    reads, long = _reads(run), _long(run)
    template = Template(
        TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    config: Any = run.model.config
    if (reads != "question" and config.problem_type is None) or (reads == "pairs" and long):
        return None
    return template.render(usage=USAGE[reads], reads=reads, long=long, gives=config.problem_type)


def _long(run: Run) -> bool:
    """Whether more is read of a long text than its beginning."""
    return isinstance(run.task, LongTexts) and run.task.long_texts != "truncate"


def _reads(run: Run) -> str:
    if "question" in run.task.asked_columns:
        return "question"
    return "pairs" if texts.PAIR in run.task.asked_columns else "texts"
