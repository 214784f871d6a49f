"""The words of a command: argparse, whose complaints are requests to correct."""

from __future__ import annotations

import argparse
from typing import NoReturn

from nlp_transfer.errors import RequestError, did_you_mean


class Parser(argparse.ArgumentParser):
    """The parser of one command."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"nlp-transfer {command}", description=description, allow_abbrev=False)

    def add_reading(self) -> None:
        """The flags of how a model reads rows to answer: their columns, batch size and precision."""
        # for the help and for complaints; `read` takes them, whatever NAME is
        self.add_argument("--columns.NAME", metavar="COLUMN", help="column of the file that is the task's NAME")
        self.add_argument(
            "--batch_size", type=count, default=64, help="rows of the longest texts that the model reads at once"
        )
        self.add_argument(
            "--precision",
            choices=["fp32", "bf16", "auto"],
            default="fp32",
            help="numbers that the model computes in; auto: bf16 where the hardware multiplies it",
        )

    def add_trust(self) -> None:
        """The flag by which the code of a model may be run."""
        self.add_argument(
            "--trust-remote-code",
            metavar="ORG/NAME@COMMIT",
            help="run the code of this model of the Hub, at this commit; you should have read it",
        )

    def read(self, words: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
        """The options, and the `--columns.NAME OTHER` among the words."""
        columns, rest, words = {}, [], list(words)
        while words:
            word = words.pop(0)
            if not word.startswith("--columns."):
                rest.append(word)
                continue
            name, equals, value = word.removeprefix("--columns.").partition("=")
            if not equals and not words:
                raise RequestError(f"{word} needs the name of a column of your file.")
            columns[name] = value if equals else words.pop(0)
        return self.parse_args(rest), columns

    def error(self, message: str) -> NoReturn:
        """What argparse complains of, as a request to correct."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message and unknown.startswith("--"):
            flags = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
            raise RequestError(f"{self.prog} has no {unknown.split()[0]}. {did_you_mean(unknown.split()[0], flags)}")
        raise RequestError(f"{self.prog}: {message}. See {self.prog} --help.")


def count(word: str) -> int:
    """A whole number above 0."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is no whole number above 0")
    return int(word)
