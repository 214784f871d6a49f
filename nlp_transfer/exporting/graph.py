"""A run as an ONNX graph, which onnxruntime computes without torch, transformers or this package."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn

from nlp_transfer.data.features import Features
from nlp_transfer.errors import RequestError, listing
from nlp_transfer.exporting.example import described, example
from nlp_transfer.exporting.folders import refuse_existing, written
from nlp_transfer.exporting.sample import apart, sample
from nlp_transfer.quiet import quiet
from nlp_transfer.recipe import Recipe
from nlp_transfer.runs import Run

TOLERANCE = 1e-4
"""How far the outputs of a graph may be from the run's, in fp32, as `apart` has it."""

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def onnx(run: Run, output: Path) -> list[str]:
    """Save a run as an ONNX graph for any number of rows and tokens, with its tokenizer, labels and an example.

    A tuner is merged first where that is exact; adapters, prefixes and prompts become part of the graph as they are.

    Args:
        run: finished.
        output: a folder that does not exist yet.

    Returns:
        Sentences for the reader.

    Raises:
        RequestError: where packages are missing, or the graph's outputs are not the run's.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise RequestError(f"export --format onnx needs {listing(missing)}: pip install 'nlp-transfer[onnx]'.")
    refuse_existing(output)
    recipe = Recipe.read(run.folder / "recipe.yaml")
    model = copy.deepcopy(run.model).cpu().eval()
    try:
        model = recipe.method.merge(model).eval()
    except RequestError:
        model = copy.deepcopy(run.model).cpu().eval()  # traced as it is
    batches = _batches(run)
    with written(output) as folder:
        outputs = _traced(model, batches[0], folder / "model.onnx")
        difference = _difference(run.model, batches, folder / "model.onnx", outputs)
        if not difference <= TOLERANCE:  # no number is no equal
            raise RequestError(
                f"the graph's outputs differ from the run's by {difference:.1e}, more than {TOLERANCE:g}: not written. Use "
                "--format merged, or the run as it is (load_run)."
            )
        run.tokenizer.save_pretrained(folder)
        (folder / "export.json").write_text(
            json.dumps(described(run, list(batches[0]), outputs), indent=2, ensure_ascii=False), encoding="utf-8"
        )
        (folder / "task.json").write_text(json.dumps(run.task.to_json(), ensure_ascii=False), encoding="utf-8")
        if source := example(run):
            (folder / "example.py").write_text(source, encoding="utf-8")
    said = f"{listing(outputs)} as the run's, to {difference:.1e}, in {len(batches)} shapes."
    if source:
        return [said, f"try it: python {output / 'example.py'}, which needs onnxruntime and tokenizers alone."]
    if not run.tokenizer.is_fast:
        said = f"{said} Its tokenizer is Python's own: load it from {output} with transformers."
    return [
        f"{said} It reads at most {recipe.data.max_length} tokens at once.",
        f"what its outputs mean says {output / 'task.json'}; how windows of a text or the pieces of a word become one answer is "
        "yours to do.",
    ]


def _batches(run: Run) -> list[dict[str, Tensor]]:
    """Inputs of several shapes: the task's sample together, which is padded, each of its rows alone, and longer texts, of
    which one is as long as the run reads."""
    rows = sample(run)
    features = Features.of(rows, run.task, run.tokenizer)
    chosen = [np.arange(len(features)), *(np.array([i]) for i in range(len(features)))]
    found = [features.fetch(indices).inputs for indices in chosen]
    words, random = " ".join(" ".join(row.values()) for row in rows.to_list()).split(), np.random.default_rng(0)
    for most in (60, run.tokenizer.model_max_length):  # no word has less than a token
        # words in no order: in what repeats itself, attention that sees too far finds the same again
        counts = [max(4, most // 2**i) for i in range(6)]
        longer = [{name: " ".join(random.choice(words, count)) for name in rows.column_names} for count in counts]
        further = Features.of(Dataset.from_list(longer), run.task, run.tokenizer)
        lengths = further.lengths
        padded = np.where(lengths < lengths.max(), lengths, 0).argmax()
        found.append(further.fetch(np.array([lengths.argmax(), padded, lengths.argmin()])).inputs)
    return [dict(inputs) for inputs in found]


class _Named(nn.Module):
    """A model whose inputs come in a fixed order, and whose outputs are a tuple of tensors."""

    def __init__(self, model: nn.Module, inputs: list[str], outputs: list[str]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        answered = self.model(**dict(zip(self.inputs, values, strict=True)))
        return tuple(answered[name] for name in self.outputs)


def _traced(model: nn.Module, inputs: Mapping[str, Tensor], file: Path) -> list[str]:
    """Write the graph of a model; the names of its outputs."""
    with torch.no_grad():
        answered = model(**inputs)
    outputs = [name for name, value in answered.items() if name.endswith("logits") and isinstance(value, Tensor)]
    shape = {0: "rows", 1: "tokens"}
    with _silent():
        program = torch.onnx.export(
            _Named(model, list(inputs), outputs).eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=(tuple(shape for _ in inputs),),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(file)
    return outputs


def _difference(model: nn.Module, batches: list[dict[str, Tensor]], file: Path, outputs: list[str]) -> float:
    """How far the graph's outputs are from the model's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    device = next(model.parameters()).device
    found_apart = [0.0]
    for inputs in batches:
        found = session.run(outputs, {name: values.numpy() for name, values in inputs.items()})
        with torch.no_grad():
            expected = model(**{name: values.to(device) for name, values in inputs.items()})
        for name, value in zip(outputs, found, strict=True):
            found_apart.append(apart(value, expected[name].float().cpu().numpy()))
    return float(np.max(found_apart))


@contextmanager
def _silent() -> Iterator[None]:
    """Without what the exporter says about its own workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
