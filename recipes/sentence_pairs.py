"""Two texts, one label (paraphrase, entailment): on the shipped sample as it is, on your own file with --data pairs.csv.

python recipes/sentence_pairs.py --data pairs.csv --columns.text premise --columns.text_pair hypothesis --train.epochs 3
accelerate launch recipes/sentence_pairs.py                 the same on several devices
Every setting is a flag: --help shows them.
"""

import sys

from accelerate import PartialState

from nlp_transfer import cli, fine_tune, samples

DEFAULTS = {
    "task": "classification",
    "data": str(samples.path("sentence_pairs")),
    "train": {"epochs": 10, "learning_rate": 1e-4},
}


def main() -> None:
    """Train, then answer two pairs."""
    options = cli.training(sys.argv[1:], DEFAULTS)
    run = fine_tune(options.pop("recipe"), **options)
    pairs = [("The shop shuts at six.", "It closes at six."), ("The shop shuts at six.", "I like tea.")]
    answers = run.predict(pairs)
    if PartialState().is_main_process:
        print(f"test accuracy {run.scores['test']['accuracy']:.3f}, run in {run.folder}")
        for answer in answers:
            print(answer.label, f"{answer.probability:.2f}")


if __name__ == "__main__":
    sys.exit(cli.status_of(main))
