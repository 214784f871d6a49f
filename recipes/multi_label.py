"""Several labels for a text, or none: on the shipped sample as it is, on your own file with --data comments.csv.

python recipes/multi_label.py --data comments.csv --columns.labels food,room,staff --train.epochs 3
accelerate launch recipes/multi_label.py                 the same on several devices
Every setting is a flag: --help shows them.
"""

import sys

from accelerate import PartialState

from nlp_transfer import cli, fine_tune, samples

DEFAULTS = {
    "task": "multi_label",
    "data": str(samples.path("multi_label")),
    "train": {"epochs": 15, "learning_rate": 2e-4},
}


def main() -> None:
    """Train, then answer two texts."""
    options = cli.training(sys.argv[1:], DEFAULTS)
    run = fine_tune(options.pop("recipe"), **options)
    answers = run.predict(["Tiny room, but the breakfast was superb.", "We came by train."])
    if PartialState().is_main_process:
        print(f"test micro F1 {run.scores['test']['micro_f1']:.3f}, run in {run.folder}")
        for answer in answers:
            print(", ".join(answer.labels) or "no label")


if __name__ == "__main__":
    sys.exit(cli.status_of(main))
