"""The command line: words to one call of the library. Answers go to standard output, all else to standard error."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_transfer import __version__
from nlp_transfer.arguments import Parser
from nlp_transfer.errors import Interrupted, RequestError, Stopped, TrainingError, did_you_mean, readable
from nlp_transfer.launching import apart, launch, tell
from nlp_transfer.startup import at_once

TRUST = "trust-remote-code"
"""The flag by which the code of a model may be run. No recipe has such a setting: recipes come from strangers."""

OWN = {"output": str, "overwrite": bool, "resume": bool, "quiet": bool, TRUST: str}
"""Flags of `train` that are no settings of a recipe."""

USAGE = """nlp-transfer: adapt pre-trained language models to your task.

  nlp-transfer train    --task sentiment --data reviews.csv [--model minilm] [--method full] [--train.epochs 3]
                        [--columns.text review] [--columns.label stars] [--output runs/reviews] [--overwrite] [--processes N]
                        [--config recipe.yaml]              every setting: nlp-transfer train --task sentiment --help
  nlp-transfer train    --output runs/reviews --resume      go on with a run that was stopped
  nlp-transfer evaluate RUN [RUN ...] --data test.csv [--output scores.json] [--errors wrong.csv]
  nlp-transfer predict  RUN "a text" "another"              two for each answer where the run reads pairs
  nlp-transfer predict  RUN --question "Who ...?" --context "..." | --context-file article.txt
  nlp-transfer predict  RUN --input new.csv --output answers.csv       - is standard input or output
  nlp-transfer compare  (as train) --methods full,head,lora:rank=4 --seeds 0,1,2,3,4 [--workers N] [--output runs/compare]
  nlp-transfer export   RUN --format merged|transformers|onnx --output DIR
  nlp-transfer train    ... --trust-remote-code ORG/NAME@COMMIT   run the code of this model of the Hub, which you have read;
                        predict, evaluate, export and compare take it too
  nlp-transfer list     [tasks|methods|models|metrics]      what there is, with every setting and its default
  nlp-transfer doctor                                       device, precision, versions, what is missing
  nlp-transfer demo     [--task T] [--output DIR]           four methods on a shipped sample, without a network

Exit status: 0 done; 2 the request or the data is wrong; 3 stopped and resumable; 1 anything else.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal or a pipe has no letters for
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
        if sys.stdout is not None:
            sys.stdout.flush()
    except (RequestError, Stopped, Interrupted, TrainingError) as error:
        return tell(error)
    except SystemExit as end:
        # --help, which has printed what it is asked for
        return int(end.code or 0)
    except KeyboardInterrupt:
        return tell(Interrupted("ended by SIGINT"))
    except BrokenPipeError:
        # the reader of our output has gone, as `head` does
        sys.stderr.close()
        return 1
    except OSError as error:
        # of files that have a name others tell; Python does not say which of the rest it was
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            raise
        _forget_output()
        return tell(Interrupted(f"standard output or a file cannot be written: {error.strerror}"))
    return 0


def _forget_output() -> None:
    """Have the interpreter not try again, at its end, to write what could not be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def training(arguments: Sequence[str], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `fine_tune` takes, from the words of a command line: a recipe, and where its run goes.

    Args:
        arguments: flags, such as `--train.epochs 2 --output runs/reviews`.
        defaults: values under the flags and the `--config` file, as a recipe file would hold them.

    Raises:
        RequestError: for flags that are unknown or wrong.
    """
    at_once("nlp_transfer.recipe", "nlp_transfer.experiment")
    from nlp_transfer import flags
    from nlp_transfer.recipe import Recipe, help_text

    if {"-h", "--help"} & set(arguments):
        print(help_text([word for word in arguments if word not in ("-h", "--help")], defaults), end="")
        raise SystemExit(0)
    ours, rest = flags.apart(arguments, OWN)
    if TRUST in ours:
        ours["trust_remote_code"] = ours.pop(TRUST)
    if "quiet" in ours:
        ours["silent"] = ours.pop("quiet")
    if ours.get("resume") and not rest and defaults is None:
        if "output" not in ours:
            raise RequestError("--resume needs --output: the folder of the run to go on with.")
        return {"recipe": None, **ours}
    said: list[str] = []
    recipe = Recipe.from_flags(rest, defaults, said)
    for sentence in said:
        print(readable(sentence), file=sys.stderr)
    return {"recipe": recipe, **ours}


def _train(words: list[str]) -> None:
    asked = [word for word in words if word in ("-h", "--help")]  # no flag with a value, as `apart` would have it
    words, processes = apart([word for word in words if word not in asked])
    options = training([*words, *asked])
    if processes > 1:
        raise SystemExit(launch(["train", *words], processes))
    from nlp_transfer.environment import speaks
    from nlp_transfer.experiment import fine_tune
    from nlp_transfer.report import last_split, scores_lines

    run = fine_tune(options.pop("recipe"), **options)
    if not speaks():
        return
    run.write_page()
    split = last_split(run.report)
    print(scores_lines(run.scores[split], run.report["intervals"][split], split))
    print(f"{run.folder}")


def _evaluate(words: list[str]) -> None:
    from nlp_transfer import answering

    answering.evaluate(words)


def _predict(words: list[str]) -> None:
    from nlp_transfer import answering

    answering.predict(words)


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
    parser.add_trust()
    options, _ = parser.read(words)
    at_once("nlp_transfer.exporting")
    from nlp_transfer.exporting import FORMS
    from nlp_transfer.runs import load_run
    from nlp_transfer.training.signals import raised_signals

    run = load_run(options.run, options.trust_remote_code)
    with raised_signals():
        said = FORMS[options.format](run, options.output)
    print(*said, sep="\n", file=sys.stderr)
    print(options.output)


def _compare(words: list[str]) -> None:
    at_once("nlp_transfer.comparison")
    from nlp_transfer.comparison import command, compare

    options = command.options(words)
    print(compare(options.pop("recipe"), **options).folder)


def _list(words: list[str]) -> None:
    parser = Parser("list", "What there is, with every setting and its default.")
    parser.add_argument("kind", nargs="?", choices=["tasks", "methods", "models", "metrics"])
    options, _ = parser.read(words)
    at_once("nlp_transfer.catalogue")
    from nlp_transfer import catalogue

    print(catalogue.text(options.kind), end="")


def _doctor(words: list[str]) -> None:
    Parser("doctor", "Device, precision, threads, versions, what is missing and how to get it.").read(words)
    at_once("nlp_transfer.catalogue")
    from nlp_transfer import catalogue

    print(catalogue.doctor(), end="")


def _demo(words: list[str]) -> None:
    parser = Parser("demo", "Four methods compared on a shipped sample, or one training, without a network.")
    parser.add_argument("--task", help="one training, of a task or sentence_pairs; unset: four methods compared")
    parser.add_argument("--output", help="folder of what comes out; unset: runs/demo, or runs/demo-TASK")
    options, _ = parser.read(words)
    at_once("nlp_transfer.demo")
    from nlp_transfer.demo import demo

    demo(options.task, options.output)


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
    if nul := next((word for word in words if "\0" in word), None):
        raise RequestError(f"{nul} holds a null byte, which no name of a file can.")
    COMMANDS[command](words)


if __name__ == "__main__":
    sys.exit(main())
