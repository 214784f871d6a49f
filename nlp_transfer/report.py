"""The report of a run as numbers, and the model card that says the same in words."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from nlp_transfer import tasks
from nlp_transfer.data.findings import SHOWN
from nlp_transfer.data.settings import IN_MEMORY
from nlp_transfer.errors import harmless

SCHEMA = 1
"""Version of report.json; it grows when a reader of an older one would misread a newer."""


def parameters(before: int, model: nn.Module, artefact: Path) -> dict[str, int]:
    """Counts of a model's weights: all, those that learn, those that the method added, and bytes of the saved artefact."""
    # peft keeps the head as it was beside the one that learns
    own = [parameter for name, parameter in model.named_parameters() if ".original_module." not in name]
    counts = [parameter.numel() for parameter in own]
    learning = [parameter.numel() for parameter in own if parameter.requires_grad]
    return {
        "total": sum(counts),
        "trainable": sum(learning),
        "added": sum(counts) - before,
        "stored_bytes": sum(file.stat().st_size for file in artefact.glob("*.safetensors")),
    }


def head_parameters(model: Any, head: Sequence[str]) -> int:
    """How many weights the head has; of a model from scratch, all of which is new, those outside the backbone proper.

    Args:
        model: as loaded, before a method is applied.
        head: names of the head's parameters.
    """
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    names = set(head)
    if names == sizes.keys():
        names = {name for name in sizes if not name.startswith(f"{model.base_model_prefix}.")}
    return sum(sizes[name] for name in names)


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write JSON that a person can read; replaced in one move, so that no reader ever sees half of it. A link stays a link, and
    what is no plain file, such as a pipe, is written to."""
    plain = file.is_file() or not file.exists()
    file = file.resolve() if plain else file
    half = file.with_name(f".{file.name}.part") if plain else file
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=True) + "\n"
    # half a surrogate, as a name of a file may hold, becomes the escape that JSON has for it
    half.write_text(text, encoding="utf-8", errors="backslashreplace")
    if plain:
        half.replace(file)


def without_texts(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report that can be shared: wrong answers, and reasons why rows were left out, stay away, since they quote the data."""
    shared = copy.deepcopy(dict(report))
    for warning in shared.get("data", {}).get("warnings", ()):
        warning.pop("reasons", None)
    for details in shared.get("details", {}).values():
        details.get("errors", {}).pop("most_confident", None)
    return shared


def card(report: Mapping[str, Any], primary: str, asked: Sequence[str] = ("text",)) -> str:
    """The model card: Markdown with the metadata that the Hub reads; `asked` are the columns of a row without its answer."""
    example = json.dumps("a text" if len(asked) == 1 else dict.fromkeys(asked, "..."))
    recipe, backbone = report["recipe"], report["backbone"]
    last = last_split(report)
    task, method = recipe["task"]["name"], recipe["method"]["name"]
    kind = tasks.find(task)
    trusted = f", trust_remote_code={backbone['code']!r}" if backbone.get("code") else ""
    metadata = {
        "library_name": "transformers",
        "pipeline_tag": kind.pipeline_tag,
        "base_model": backbone["id"],
        "tags": ["nlp_transfer", task, method],
        "metrics": sorted(report["scores"][last]),
    }
    header = yaml.safe_dump(metadata, sort_keys=False)
    return f"""---
{header}---
# {task}, {method} on {_as_text(backbone["id"])}

{last.capitalize()} {primary.replace("_", " ")}: **{report["scores"][last][primary]:.4f}**, 95 % interval \
{_interval(report, primary)}
(bootstrap over {report["data"]["rows"][last]} rows; it says nothing about other seeds).

## Use

```python
from nlp_transfer import load_run

run = load_run("PATH OR HUB ID OF THIS RUN"{trusted})
print(run.predict([{example}]))
```

## Scores

{_scores(report)}

## Data

{_bullets([f"{name}: {rows} rows" for name, rows in report["data"]["rows"].items()])}
{_bullets([_as_text(note) for note in report["data"]["notes"]])}
{_bullets([_as_text(_warning(warning)) for warning in report["data"]["warnings"]])}

## How it was made

{report["parameters"]["trainable"]:,} of {report["parameters"]["total"]:,} weights learned, in {_duration(report)} of
training in {recipe["train"]["precision"]} on {_device(report)}, seed {recipe["seed"]}.
The recipe:

```yaml
{yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)}```

{repeats(report)}

## Limits

The scores hold for texts like those it was trained and tested on, and its probabilities are not calibrated for others.
It carries whatever its backbone learned; see the card of {_as_text(backbone["id"])}.
"""


def repeats(report: Mapping[str, Any]) -> str:
    """A sentence that says how the recipe is run again."""
    data, code = report["recipe"]["data"], report["backbone"].get("code")
    if IN_MEMORY in (data.get("source"), data.get("validation"), data.get("test")):
        return "The rows were in memory: the recipe repeats the run together with them (`fine_tune` with `data` as it was)."
    flag = f" --trust-remote-code {code}" if code else ""
    return f"It repeats the run: `nlp-transfer train --config recipe.yaml{flag}`."


def _interval(report: Mapping[str, Any], name: str) -> str:
    low, high = report["intervals"][last_split(report)][name]
    return f"{low:.4f} to {high:.4f}"


def _scores(report: Mapping[str, Any]) -> str:
    """A Markdown table of the scores of the judged splits."""
    scores, last = report["scores"], last_split(report)
    lines = [f"| score | {' | '.join(scores)} | 95 % interval of {last} |", "|---" * (len(scores) + 2) + "|"]
    for name in scores[last]:
        # some scores are of rows that a split may not have, as questions without an answer
        cells = " | ".join(f"{split[name]:.4f}" if name in split else "-" for split in scores.values())
        lines.append(f"| {name.replace('_', ' ')} | {cells} | {_interval(report, name)} |")
    return "\n".join(lines)


def titled(task: str) -> str:
    """What people call a task."""
    return tasks.find(task).title or task.replace("_", " ")


def last_split(report: Mapping[str, Any]) -> str:
    """The split that has the last word: the test, or validation where no test was wanted."""
    return "test" if "test" in report["scores"] else "validation"


def scores_lines(scores: Mapping[str, float], intervals: Mapping[str, Sequence[float]], title: str) -> str:
    """Scores for a terminal, a line each under a title."""
    lines = [f"{title}:"]
    for name, value in scores.items():
        low, high = intervals[name]
        lines.append(f"  {name.replace('_', ' '):<28} {value:.4f}   95 % {low:.4f} to {high:.4f}")
    return "\n".join(lines)


def _warning(warning: Mapping[str, Any]) -> str:
    """A finding about the data, and the first rows it means."""
    rows = f" ({'; '.join(warning['rows'][:SHOWN])})" if warning["rows"] else ""
    return f"warning: {warning['message']}{rows}"


def _as_text(said: object) -> str:
    """Words that may quote the data, on a line of Markdown in which they make no link, image, code or element."""
    return re.sub(r"([\\`\[\]<>&])", r"\\\1", harmless(" ".join(str(said).split())))


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _device(report: Mapping[str, Any]) -> str:
    return str(report["environment"]["device_name"] or report["environment"]["device"])


def _duration(report: Mapping[str, Any]) -> str:
    seconds = report["time"]["train_seconds"]
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
