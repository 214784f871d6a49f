"""The contract matrix: which methods, tasks, families and poolings are run together, and which cannot be."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedTokenizerFast

from nlp_transfer import artefacts, methods, tasks
from tests.families import FAMILIES, tiny

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "adapter": [
        {"placement": "houlsby"},
        {"placement": "houlsby", "norms": True},
        {"placement": "parallel", "scale": "learned"},
        {"layers": (1,)},
    ],
    "freeze": [{"blocks": (1,)}],
}
"""Settings, besides the defaults, under which a method is another thing to an architecture."""

FURTHER: dict[str, list[dict[str, Any]]] = {
    "full": [{"layer_decay": 0.8, "pull": 1.0}, {"reinitialize": 1}],
    "lora": [{"variant": "rslora"}, {"variant": "dora"}, {"variant": "pissa"}, {"top": 1, "plus": 4.0}],
    "adapter": [{"top": 1}],
    "freeze": [{"lowest": 0}],
    "peft": [{"tuner": "IA3"}],
    "prefix": [{"projection": 8}],
}
"""Settings that need no more than one encoder and one decoder each."""

WIDER: dict[str, dict[str, Any]] = {"adapter": {"bottleneck_size": 8}, "prefix": {"length": 4}, "prompt": {"length": 4}}
"""Settings for models of width 32 and 64 tokens, where a default would leave next to nothing, of the adapter or of the text."""

NO_CACHE = "takes no keys and values from outside"

UNSUPPORTED: dict[tuple[str, str], str] = {
    **{("prefix", family): NO_CACHE for family in ("albert", "deberta-v2", "distilbert", "modernbert", "mpnet")},
    **{("bitfit", family): "has no biases" for family in ("gemma", "llama", "mistral", "modernbert", "qwen3")},
    ("prompt", "own"): "finds what it reads by its place",
    ("prompt", "qa"): "finds what it reads by its place",
    ("prompt", "entities"): "finds what it reads by its place",
    ("freeze", "albert"): "runs the same block as every layer",
    ("adapter layers=(1,)", "albert"): "runs the same block as every layer",
}
"""Cells that are refused, by method and family, pooling or task, and what is said; `docs/methods.md` has the same table."""


@dataclass(frozen=True)
class Cell:
    """One method on one task and family."""

    method: str
    task: str
    family: str
    pooling: str = "auto"
    settings: dict[str, Any] = field(default_factory=dict)
    pairs: bool = False
    """Two texts per row."""
    windows: bool = False
    """Rows are read in windows, whose outputs are pooled."""

    @property
    def sample(self) -> str:
        """The shipped rows that it is run on."""
        return "sentence_pairs" if self.pairs else self.task

    @property
    def way(self) -> str:
        """The method with the settings that are not its defaults."""
        return " ".join([self.method, *(f"{name}={value}" for name, value in self.settings.items())])

    @property
    def reason(self) -> str | None:
        """Why it cannot be, or None."""
        kinds = (
            (self.way, self.family),
            (self.method, self.family),
            (self.method, self.pooling),
            (self.method, self.task),
        )
        return next((UNSUPPORTED[key] for key in kinds if key in UNSUPPORTED), None)

    def __str__(self) -> str:
        return f"{self.way}, {self.sample}{' in windows' if self.windows else ''}, {self.family}, {self.pooling}"


def cells() -> list[Cell]:
    """Every method x every task x an encoder and a decoder; every method and variant x every family x classification; every
    method x every pooling, and its further settings, x the encoder and the decoder; two texts, and texts in windows, x every
    method x these; two texts x every family; full x every family x question answering, whose head some lack or call otherwise,
    and LoRA on some of those; OPT, which has no head for tokens, and two more x entities."""
    both = ("bert", "gpt2")
    found = [Cell(method, task, family) for method in methods.names() for task in tasks.names() for family in both]
    found += [Cell("full", "qa", family) for family in FAMILIES]
    found += [Cell("lora", "qa", family) for family in ("llama", "gemma", "phi")]
    found += [Cell("full", "entities", family) for family in ("opt", "deberta-v2", "llama")]
    found += [Cell("lora", "entities", "opt")]
    for method in methods.names():
        for settings in [{}, *VARIANTS.get(method, [])]:
            found += [Cell(method, "classification", family, settings=settings) for family in FAMILIES]
        for settings in FURTHER.get(method, []):
            found += [Cell(method, "classification", family, settings=settings) for family in both]
        found += [
            Cell(method, "classification", family, pooling) for family in both for pooling in ("own", "mean", "last")
        ]
        found += [Cell(method, "classification", family, pairs=True) for family in both]
        found += [Cell(method, "classification", family, windows=True) for family in both]
    found += [Cell("full", "classification", family, pairs=True) for family in FAMILIES]
    return list({str(cell): cell for cell in found}.values())


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, with the special ids that the tiny families have."""
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    words = {word: i for i, word in enumerate([*special, *string.ascii_lowercase, *string.digits, *" .,?!'-"])}
    built = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    built.normalizer = normalizers.Lowercase()
    built.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
    )
    names = {"cls_token": "[CLS]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=built, model_max_length=64, **names)


def backbones(root: Path, families: Iterable[str] = tuple(FAMILIES)) -> dict[str, Path]:
    """A folder with a tiny backbone of each family."""
    folders = {}
    for family in families:
        folders[family] = root / family
        tiny(family, AutoModel).save_pretrained(folders[family])
        tokenizer().save_pretrained(folders[family])
    return folders


def answer_again(root: Path) -> None:
    """What a process that made none of the models does: load every cell's, and answer its rows."""
    constants.HF_HUB_OFFLINE = True
    torch.set_num_threads(1)
    answers = {}
    with torch.no_grad():
        for folder in sorted(path.parent for path in root.glob("*/rows.safetensors")):
            task = tasks.from_json(json.loads((folder / "task.json").read_text(encoding="utf-8")))
            model = artefacts.load(folder / "model", task, folder / "recipe.yaml").eval()
            outputs = model(**load_file(folder / "rows.safetensors"))
            answers[folder.name] = torch.stack([outputs[name] for name in outputs if "logits" in name])
    save_file(answers, root / "answers.safetensors")
