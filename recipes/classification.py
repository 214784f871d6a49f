"""Topics of messages: on the shipped sample as it is, on your own file with --data messages.csv.

python recipes/classification.py --data messages.csv --columns.text message --columns.label topic --train.epochs 3
accelerate launch recipes/classification.py                 the same on several devices
Every setting is a flag: --help shows them.
"""

import sys

from accelerate import PartialState

from nlp_transfer import cli, fine_tune, samples

DEFAULTS = {"task": "classification", "data": str(samples.path("classification")), "train": {"epochs": 8}}


def main() -> None:
    """Train, then answer two texts."""
    options = cli.training(sys.argv[1:], DEFAULTS)
    run = fine_tune(options.pop("recipe"), **options)
    answers = run.predict(["You charged me twice.", "Where is my parcel?"])
    if PartialState().is_main_process:
        print(f"test accuracy {run.scores['test']['accuracy']:.3f}, run in {run.folder}")
        for answer in answers:
            print(answer.label, f"{answer.probability:.2f}")


if __name__ == "__main__":
    sys.exit(cli.status_of(main))
