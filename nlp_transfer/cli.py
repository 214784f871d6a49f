"""The command line: words to one call of the library. Answers go to standard output, all else to standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_transfer import __version__
from nlp_transfer.arguments import Parser, count
from nlp_transfer.errors import Interrupted, RequestError, Stopped, TrainingError, did_you_mean

USAGE = """nlp-transfer: adapt pre-trained language models to your task.

  nlp-transfer train    --task sentiment --data reviews.csv [--model minilm] [--method full] [--train.epochs 3]
                        [--columns.text review] [--columns.label stars] [--output runs/reviews] [--overwrite]
                        [--config recipe.yaml]              every setting: nlp-transfer train --task sentiment --help
  nlp-transfer train    --output runs/reviews --resume      go on with a run that was stopped
  nlp-transfer evaluate RUN [RUN ...] --data test.csv [--output scores.json] [--errors wrong.csv]
  nlp-transfer predict  RUN "a text" "another"              two for each answer where the run reads pairs
  nlp-transfer predict  RUN --question "Who ...?" --context "..." | --context-file article.txt
  nlp-transfer predict  RUN --input new.csv --output answers.csv       - is standard input or output
  nlp-transfer compare  (as train) --methods full,head,lora:rank=4 --seeds 0,1,2,3,4 [--workers N] [--output runs/compare]
  nlp-transfer export   RUN --format merged|transformers|onnx --output DIR
  nlp-transfer list     [tasks|methods|models|metrics]      what there is, with every setting and its default
  nlp-transfer doctor                                       device, precision, versions, what is missing
  nlp-transfer demo     [--task T]                          four methods on a shipped sample, without a network

Exit status: 0 done; 2 the request or the data is wrong; 3 stopped and resumable; 1 anything else.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] in ("-V", "--version", "version"):
        print(f"nlp-transfer {__version__}")
        return 0
    return status_of(lambda: _dispatch(words[0], words[1:]))


def status_of(job: Callable[[], Any]) -> int:
    """Do a job; what is wrong with the request becomes one message and exit status 2."""
    try:
        job()
    except RequestError as error:
        print(f"nlp-transfer: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"nlp-transfer: {stopped}", file=sys.stderr)
        return 3
    except (Interrupted, TrainingError) as error:
        print(f"nlp-transfer: {error}", file=sys.stderr)
        return 1
    except SystemExit as end:
        # --help, which has printed what it is asked for
        return int(end.code or 0)
    except BrokenPipeError:
        # the reader of our output has gone, as `head` does
        sys.stderr.close()
        return 1
    return 0


def training(arguments: Sequence[str], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `fine_tune` takes, from the words of a command line: a recipe, and where its run goes.

    Args:
        arguments: flags, such as `--train.epochs 2 --output runs/reviews`.
        defaults: values under the flags and the `--config` file, as a recipe file would hold them.

    Raises:
        RequestError: for flags that are unknown or wrong.
    """
    from nlp_transfer import flags
    from nlp_transfer.recipe import Recipe, help_text

    if {"-h", "--help"} & set(arguments):
        print(help_text([word for word in arguments if word not in ("-h", "--help")], defaults), end="")
        raise SystemExit(0)
    ours, rest = flags.apart(arguments, {"output": str, "overwrite": bool, "resume": bool, "quiet": bool})
    if "quiet" in ours:
        ours["silent"] = ours.pop("quiet")
    if ours.get("resume") and not rest and defaults is None:
        if "output" not in ours:
            raise RequestError("--resume needs --output: the folder of the run to go on with.")
        return {"recipe": None, **ours}
    said: list[str] = []
    recipe = Recipe.from_flags(rest, defaults, said)
    for sentence in said:
        print(sentence, file=sys.stderr)
    return {"recipe": recipe, **ours}


def _train(words: list[str]) -> None:
    from nlp_transfer.experiment import fine_tune
    from nlp_transfer.report import last_split

    options = training(words)
    run = fine_tune(options.pop("recipe"), **options)
    if not _speaks():
        return
    run.write_page()
    split = last_split(run.report)
    _print_scores(run.scores[split], run.report["intervals"][split], split)
    print(f"{run.folder}")


def _evaluate(words: list[str]) -> None:
    parser = Parser("evaluate", "Judge a run, or several side by side, on rows with answers.")
    parser.add_argument("runs", nargs="+", metavar="run", help="folder of a finished run")
    parser.add_argument("--data", required=True, help="file or data set with answers")
    parser.add_argument("--output", type=Path, help="JSON file for scores, intervals and details")
    parser.add_argument(
        "--errors", type=Path, help="file for the rows answered wrongly, the surest first (one run; as in predict)"
    )
    parser.add_argument("--batch_size", type=count, default=64, help="rows that the model reads at once")
    options, columns = parser.read(words)
    if options.errors and len(options.runs) > 1:
        raise RequestError("--errors writes the wrong answers of one run: name one.")
    from nlp_transfer.data import writers
    from nlp_transfer.data.sources import single
    from nlp_transfer.judging import evaluate_runs, scores_file, side_by_side, write_errors
    from nlp_transfer.report import write_json

    if options.errors:
        writers.check(options.errors)
    rows = single(options.data)
    judgements = evaluate_runs(options.runs, rows, columns, options.batch_size)
    if not _speaks():
        return
    for warning in dict.fromkeys(warning for judgement in judgements.values() for warning in judgement.warnings):
        print(f"warning: {warning}", file=sys.stderr)
    if len(judgements) == 1:
        judgement = next(iter(judgements.values()))
        _print_scores(judgement.scores, judgement.intervals, options.data)
        if options.errors:
            wrong = write_errors(judgement, rows, options.errors)
            print(f"{wrong} of {len(judgement.answers)} rows are wrong: {options.errors}", file=sys.stderr)
    else:
        print(side_by_side(judgements, options.data))
    if options.output:
        write_json(options.output, scores_file(judgements, options.data))


def _predict(words: list[str]) -> None:
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
    parser.add_argument("--batch_size", type=count, default=64, help="rows that the model reads at once")
    options, columns = parser.read(words)
    if sum(map(bool, (options.texts, options.input, options.question))) != 1:
        raise RequestError("predict takes texts, or --question, or --input FILE: exactly one of them.")
    if bool(options.question) != (bool(options.context) != bool(options.context_file)):
        raise RequestError("--question goes with either --context TEXT or --context-file FILE.")
    if bool(options.input) != bool(options.output):
        raise RequestError("--input and --output go together: rows in, rows with answers out.")
    from nlp_transfer.predicting import predict_file
    from nlp_transfer.runs import load_run

    run = load_run(options.run)
    if options.input:
        size = options.batch_size
        done = predict_file(run, options.input, options.output, columns, form=options.form, batch_size=size)
        place = "standard output" if options.output == "-" else options.output
        if _speaks():
            print(f"{done.rows} rows written to {place} ({done.rows_per_second:,.0f} rows/s)", file=sys.stderr)
        return
    if options.question:
        context = options.context or _text(options.context_file)
        asked = [{"question": question, "context": context} for question in options.question]
        for question, answer in zip(asked, run.predict(asked, options.batch_size), strict=True) if _speaks() else ():
            print(question["question"], *answer.lines(), sep="\n  ")
        return
    width = len(run.task.asked_columns)
    if len(options.texts) % width:
        raise RequestError(
            f"{len(options.texts)} texts, but this run reads {width} for each answer ({', '.join(run.task.asked_columns)})."
        )
    rows = [options.texts[i : i + width] for i in range(0, len(options.texts), width)]
    answers = run.predict([tuple(row) if width > 1 else row[0] for row in rows], options.batch_size)
    for row, answer in zip(rows, answers, strict=True) if _speaks() else ():
        print("\t".join([*answer.words(), *row]))


def _text(file: Path) -> str:
    """The text of a file."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{file}: byte {error.object[error.start]:#04x} is not UTF-8. Save the file so.") from error


def _speaks() -> bool:
    """Whether this process is the one that prints and writes, where several do a job together."""
    from nlp_transfer.environment import processes

    return processes().is_main_process


def _export(words: list[str]) -> None:
    parser = Parser("export", "Save a run's model in a form that asks less of whoever loads it.")
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument(
        "--format",
        required=True,
        choices=["merged", "transformers", "onnx"],
        help="merged: one model without a tuner; transformers: one that plain transformers loads; onnx: a graph for onnxruntime",
    )
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    options, _ = parser.read(words)
    from nlp_transfer.exporting import FORMS
    from nlp_transfer.runs import load_run

    for sentence in FORMS[options.format](load_run(options.run), options.output):
        print(sentence, file=sys.stderr)
    print(options.output)


def _compare(words: list[str]) -> None:
    from nlp_transfer.comparison import command, compare

    options = command.options(words)
    print(compare(options.pop("recipe"), **options).folder)


def _list(words: list[str]) -> None:
    parser = Parser("list", "What there is, with every setting and its default.")
    parser.add_argument("kind", nargs="?", choices=["tasks", "methods", "models", "metrics"])
    options, _ = parser.read(words)
    from nlp_transfer import catalogue

    print(catalogue.text(options.kind), end="")


def _doctor(words: list[str]) -> None:
    Parser("doctor", "Device, precision, threads, versions, what is missing and how to get it.").read(words)
    from nlp_transfer import catalogue

    print(catalogue.doctor(), end="")


def _demo(words: list[str]) -> None:
    parser = Parser("demo", "Four methods compared on a shipped sample, or one training, without a network.")
    parser.add_argument("--task", help="one training, of a task or sentence_pairs; unset: four methods compared")
    options, _ = parser.read(words)
    from nlp_transfer.demo import demo

    demo(options.task)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "compare": _compare,
    "export": _export,
    "list": _list,
    "doctor": _doctor,
    "demo": _demo,
}


def _dispatch(command: str, words: list[str]) -> None:
    if command not in COMMANDS:
        raise RequestError(f'there is no command "{command}". {did_you_mean(command, COMMANDS)}')
    COMMANDS[command](words)


def _print_scores(scores: Mapping[str, float], intervals: Mapping[str, Sequence[float]], title: str) -> None:
    print(f"{title}:")
    for name, value in scores.items():
        low, high = intervals[name]
        print(f"  {name.replace('_', ' '):<28} {value:.4f}   95 % {low:.4f} to {high:.4f}")


if __name__ == "__main__":
    sys.exit(main())
