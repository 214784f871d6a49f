"""The contract matrix: which methods, tasks, families and poolings are run together, and which cannot be."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedTokenizerFast

from nlp_transfer import methods, tasks
from tests.families import FAMILIES, tiny

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "lora": [{"variant": "rslora"}, {"variant": "dora"}, {"variant": "pissa"}],
    "adapter": [{"placement": "houlsby"}, {"placement": "parallel", "scale": "learned"}, {"layers": (1,)}],
    "freeze": [{"lowest": 0}, {"blocks": (1,)}],
}
"""Settings, besides the defaults, under which a method is another thing."""

WIDER: dict[str, dict[str, Any]] = {"adapter": {"bottleneck_size": 8}}
"""Settings for models of width 32, where a default would leave next to nothing."""

UNSUPPORTED: dict[tuple[str, str], str] = {
    ("freeze", "albert"): "runs the same block as every layer",
    ("adapter layers=(1,)", "albert"): "runs the same block as every layer",
}
"""Cells that are refused, by method and family, and what the refusal says; `docs/methods.md` has the same table."""


@dataclass(frozen=True)
class Cell:
    """One method on one task and family."""

    method: str
    task: str
    family: str
    pooling: str = "own"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def way(self) -> str:
        """The method with the settings that are not its defaults."""
        return " ".join([self.method, *(f"{name}={value}" for name, value in self.settings.items())])

    @property
    def reason(self) -> str | None:
        """Why it cannot be, or None."""
        return UNSUPPORTED.get((self.way, self.family)) or UNSUPPORTED.get((self.method, self.family))

    def __str__(self) -> str:
        return f"{self.way}, {self.task}, {self.family}, {self.pooling}"


def cells() -> list[Cell]:
    """Every method x every task x an encoder and a decoder; every method and variant x every family x classification; every
    method x every pooling x the encoder and the decoder; full x every family x question answering, whose head some families
    lack or call otherwise, and LoRA on some of those."""
    both = ("bert", "gpt2")
    found = [Cell(method, task, family) for method in methods.names() for task in tasks.names() for family in both]
    found += [Cell("full", "qa", family) for family in FAMILIES]
    found += [Cell("lora", "qa", family) for family in ("llama", "gemma", "phi")]
    for method in methods.names():
        for settings in [{}, *VARIANTS.get(method, [])]:
            found += [Cell(method, "classification", family, settings=settings) for family in FAMILIES]
        found += [Cell(method, "classification", family, pooling) for family in both for pooling in ("mean", "last")]
    return list({str(cell): cell for cell in found}.values())


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, with the special ids that the tiny families have."""
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    words = {word: i for i, word in enumerate([*special, *string.ascii_lowercase, *string.digits, *" .,?!'-"])}
    built = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    built.normalizer = normalizers.Lowercase()
    built.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
    )
    names = {"cls_token": "[CLS]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=built, model_max_length=64, **names)


def backbones(root: Path) -> dict[str, Path]:
    """A folder with a tiny backbone of each family."""
    folders = {}
    for family in FAMILIES:
        folders[family] = root / family
        tiny(family, AutoModel).save_pretrained(folders[family])
        tokenizer().save_pretrained(folders[family])
    return folders
