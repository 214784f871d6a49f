"""Which method should I use? On the shipped sample as it is, on your own file with --data reviews.csv.

python recipes/compare_methods.py --data reviews.csv --columns.text review --columns.label stars --workers 2
python recipes/compare_methods.py --methods full,lora:rank=4 --seeds 0,1,2,3,4 --train-sizes 100,1000
Every setting is a flag: --help shows them. Started again, it goes on where it ended.
"""

import sys

from nlp_transfer import cli, compare, samples
from nlp_transfer.comparison import command

DEFAULTS = {"task": "sentiment", "data": str(samples.path("sentiment")), "train": {"epochs": 8}}


def main() -> None:
    """Compare, then print every run."""
    options = command.options(sys.argv[1:], DEFAULTS)
    compared = compare(options.pop("recipe"), **options)
    metric = compared.protocol["metric"]
    for line in compared.lines:
        if line["kind"] == "run":
            score = line["scores"].get("test", {}).get(metric, float("nan"))
            print(f"{line['candidate']}, seed {line['seed']}: test {metric} {score:.3f}, {line['status']}")
    print(f"all of it in {compared.folder}")


if __name__ == "__main__":
    sys.exit(cli.status_of(main))
