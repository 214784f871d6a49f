"""Answers to questions about a text: on the shipped sample as it is, on your own file with --data squad.json.

python recipes/question_answering.py --data train-v2.0.json --data.validation dev-v2.0.json --train.epochs 3
python recipes/question_answering.py --data faq.csv --columns.context passage --columns.answers answer
accelerate launch recipes/question_answering.py        the same on several devices
Every setting is a flag: --help shows them.
"""

import sys

from accelerate import PartialState

from nlp_transfer import cli, fine_tune, samples

DEFAULTS = {
    "task": "qa",
    "data": str(samples.path("qa")),
    "train": {"epochs": 12, "batch_size": 16, "learning_rate": 2e-4},
}
CONTEXT = "The kiosk opens at seven and sells newspapers, matches and, since its new owner took over, very good coffee."


def main() -> None:
    """Train, then answer two questions."""
    options = cli.training(sys.argv[1:], DEFAULTS)
    run = fine_tune(options.pop("recipe"), **options)
    asked = ["When does the kiosk open?", "Who owned the kiosk before?"]
    answers = run.predict([{"question": question, "context": CONTEXT} for question in asked])
    if PartialState().is_main_process:
        print(f"test F1 {run.scores['test']['f1']:.3f}, run in {run.folder}")
        for question, answer in zip(asked, answers, strict=True):
            print(question, *answer.lines(), sep="\n  ")


if __name__ == "__main__":
    sys.exit(cli.status_of(main))
