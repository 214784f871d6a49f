"""A number for a text: on the shipped sample as it is, on your own file with --data messages.csv.

python recipes/regression.py --data messages.csv --columns.text message --columns.target urgency --train.epochs 3
accelerate launch recipes/regression.py                 the same on several devices
Every setting is a flag: --help shows them.
"""

import sys

from accelerate import PartialState

from nlp_transfer import cli, fine_tune, samples

DEFAULTS = {
    "task": "regression",
    "data": str(samples.path("regression")),
    "train": {"epochs": 12, "learning_rate": 1e-4},
}


def main() -> None:
    """Train, then answer two texts."""
    options = cli.training(sys.argv[1:], DEFAULTS)
    run = fine_tune(options.pop("recipe"), **options)
    answers = run.predict(["Water is pouring through the ceiling!", "Could the hallway be painted some day?"])
    if PartialState().is_main_process:
        print(f"test Pearson correlation {run.scores['test']['pearson_correlation']:.3f}, run in {run.folder}")
        for answer in answers:
            print(f"{answer.value:.1f} ({answer.low:.1f} to {answer.high:.1f})")


if __name__ == "__main__":
    sys.exit(cli.status_of(main))
