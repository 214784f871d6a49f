"""The words of `evaluate` and `predict`, and what they print: answers to standard output, all else to standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_transfer.arguments import Parser
from nlp_transfer.errors import RequestError, harmless, listing, readable
from nlp_transfer.startup import at_once

if TYPE_CHECKING:
    from nlp_transfer.runs import Run


def evaluate(words: list[str]) -> None:
    """`nlp-transfer evaluate`: the scores of runs on rows with answers, printed and written.

    Raises:
        RequestError: for words or rows that cannot be used.
    """
    parser = Parser("evaluate", "Judge a run, or several side by side, on rows with answers.")
    parser.add_argument("runs", nargs="+", metavar="run", help="folder of a finished run")
    parser.add_argument("--data", required=True, help="file or data set with answers")
    parser.add_trust()
    parser.add_argument("--output", type=Path, help="JSON file for scores, intervals and details")
    parser.add_argument(
        "--errors", type=Path, help="file for the rows answered wrongly, the surest first (one run; as in predict)"
    )
    parser.add_reading()
    options, columns = parser.read(words)
    if options.errors and len(options.runs) > 1:
        raise RequestError("--errors writes the wrong answers of one run: name one.")
    at_once("nlp_transfer.judging")
    from nlp_transfer.data import targets, writers
    from nlp_transfer.data.sources import single
    from nlp_transfer.environment import speaks
    from nlp_transfer.judging import evaluate_runs, scores_file, side_by_side, write_errors
    from nlp_transfer.report import scores_lines, write_json

    if options.errors:
        writers.check(options.errors)
    if options.output:
        targets.refuse_place(options.output)
    targets.refuse_sources((options.errors, options.output), options.data)
    rows = single(options.data)
    judgements = evaluate_runs(
        options.runs, rows, columns, options.batch_size, options.precision, options.trust_remote_code
    )
    if not speaks():
        return
    for warning in dict.fromkeys(warning for judgement in judgements.values() for warning in judgement.warnings):
        whose = [name for name, judgement in judgements.items() if warning in judgement.warnings]
        _warn(warning if len(whose) == len(judgements) else f"{listing(whose)}: {warning}")
    if len(judgements) == 1:
        judgement = next(iter(judgements.values()))
        print(scores_lines(judgement.scores, judgement.intervals, harmless(options.data)))
        if options.errors:
            wrong = write_errors(judgement, rows, options.errors)
            print(f"{wrong} of {len(judgement.answers)} rows are wrong: {options.errors}", file=sys.stderr)
    else:
        named = {harmless(name): judgement for name, judgement in judgements.items()}
        print(side_by_side(named, harmless(options.data)))
    if options.output:
        with targets.failing(options.output):
            write_json(options.output, scores_file(judgements, options.data))


def predict(words: list[str]) -> None:
    """`nlp-transfer predict`: answers to texts, to questions about a context, or to the rows of a file.

    Raises:
        RequestError: for words or rows that cannot be used.
    """
    parser = Parser("predict", "Answer texts, or the rows of a file.")
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument(
        "texts", nargs="*", help="texts to answer; where the run reads two per row, two for each answer"
    )
    parser.add_argument("--question", action="append", default=[], help="question about the context; may be repeated")
    parser.add_argument("--context", help="text that holds the answers")
    parser.add_argument("--context-file", type=Path, help="file of UTF-8 text that holds the answers")
    parser.add_argument("--input", help="file of rows to answer, or - for standard input")
    parser.add_argument(
        "--output", help="file for the rows with their answers (.csv, .tsv, .jsonl, .parquet), or - for standard output"
    )
    parser.add_argument(
        "--form",
        choices=["csv", "tsv", "jsonl", "parquet"],
        help="form of standard input and output; unset: that of the file at the other end if it is text, else csv",
    )
    parser.add_reading()
    parser.add_trust()
    options, columns = parser.read(words)
    if sum(map(bool, (options.texts, options.input, options.question))) != 1:
        raise RequestError("predict takes texts, or --question, or --input FILE: exactly one of them.")
    if bool(options.question) != ((options.context is None) != (options.context_file is None)):
        raise RequestError("--question goes with either --context TEXT or --context-file FILE.")
    if bool(options.input) != bool(options.output):
        raise RequestError("--input and --output go together: rows in, rows with answers out.")
    at_once("nlp_transfer.predicting")
    from nlp_transfer.environment import speaks
    from nlp_transfer.predicting import predict_file
    from nlp_transfer.runs import load_run

    run = load_run(options.run, options.trust_remote_code)
    how: dict[str, Any] = {"batch_size": options.batch_size, "precision": options.precision}
    if options.input:
        done = predict_file(run, options.input, options.output, columns, form=options.form, **how)
        place = "standard output" if options.output == "-" else options.output
        if speaks():
            for warning in done.warnings:
                _warn(warning)
            print(f"{done.rows} rows written to {place} ({done.rows_per_second:,.0f} rows/s)", file=sys.stderr)
        return
    warnings: list[str] = []
    how["warnings"] = warnings
    if options.question:
        context = options.context if options.context_file is None else _text(options.context_file)
        if not context.strip():
            given = "--context" if options.context_file is None else f"--context-file {options.context_file}"
            raise RequestError(f"{given} is empty: expected the text that holds the answers.")
        lines = _to_questions(run, options.question, context, how)
    else:
        lines = _to_texts(run, options.texts, how)
    if speaks():
        for warning in warnings:
            _warn(warning)
        print(*lines, sep="\n")


def _warn(warning: str) -> None:
    print(f"warning: {readable(warning)}", file=sys.stderr)


def _to_questions(run: Run, questions: Sequence[str], context: str, how: Mapping[str, Any]) -> list[str]:
    """Each question, and the lines of its answer.

    Raises:
        RequestError: for a run of another task.
    """
    if not {"question", "context"} <= {*run.task.asked_columns}:
        reads = ", ".join(run.task.asked_columns)
        raise RequestError(
            f"this run ({run.task.name}) answers no questions about a context, it reads {reads}: expected a run of the task "
            "qa, or texts in place of --question and --context."
        )
    answers = run.predict([{"question": question, "context": context} for question in questions], **how)
    return [
        "\n  ".join(map(harmless, [question, *each.lines()])) for question, each in zip(questions, answers, strict=True)
    ]


def _to_texts(run: Run, texts: Sequence[str], how: Mapping[str, Any]) -> list[str]:
    """The words of each answer, and the texts that it is to."""
    from nlp_transfer.data.findings import plural

    width = len(run.task.asked_columns)
    if len(texts) % width:
        raise RequestError(
            f"{plural(len(texts), 'text')}, but this run reads {width} for each answer ({', '.join(run.task.asked_columns)})."
        )
    rows = [texts[i : i + width] for i in range(0, len(texts), width)]
    answers = run.predict([tuple(row) if width > 1 else row[0] for row in rows], **how)
    return ["\t".join(map(harmless, [*each.words(), *row])) for row, each in zip(rows, answers, strict=True)]


def _text(file: Path) -> str:
    """The text of a file, its line ends as they are, so that characters are counted as the file has them; no byte order mark."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return lines.read()
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{file}: byte {error.object[error.start]:#04x} is not UTF-8. Save the file so.") from error
