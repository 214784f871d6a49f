"""Entities in texts: on the shipped sample as it is, on your own file with --data news.conll or notes.jsonl.

python recipes/entities.py --data train.conll --data.validation dev.conll --data.test test.conll --train.epochs 3
python recipes/entities.py --data notes.jsonl --columns.entities annotations --task.class_weights balanced
accelerate launch recipes/entities.py        the same on several devices
Every setting is a flag: --help shows them.
"""

import sys

from accelerate import PartialState

from nlp_transfer import cli, fine_tune, samples

DEFAULTS = {
    "task": "entities",
    "data": str(samples.path("entities")),
    "train": {"epochs": 12, "batch_size": 16, "learning_rate": 3e-4},
}
TEXTS = ["Ada Novak moved from Lisbon to Ljubljana in 1998.", "The kettle has begun to sing."]


def main() -> None:
    """Train, then find the entities of two texts."""
    options = cli.training(sys.argv[1:], DEFAULTS)
    run = fine_tune(options.pop("recipe"), **options)
    answers = run.predict(TEXTS)
    if PartialState().is_main_process:
        print(f"test F1 {run.scores['test']['f1']:.3f}, run in {run.folder}")
        for text, answer in zip(TEXTS, answers, strict=True):
            print(text)
            for entity in answer.entities:
                print(f"  {entity.label} {entity.probability:.2f} {entity.text} ({entity.start} to {entity.end})")


if __name__ == "__main__":
    sys.exit(cli.status_of(main))
