"""Rows as transformers.Trainer reads them, the model that it trains on them, and the score of what comes out, by task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import qa_peer
import torch
from datasets import Dataset
from qa_cases import Case
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

STRIDE = 64
"""Tokens that windows of one context share."""


@dataclass(frozen=True)
class Classes:
    """Texts and their labels."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    padding: str

    @cached_property
    def names(self) -> list[str]:
        """The labels, in the order of their numbers."""
        return sorted(read(self.folder, "train").unique("label"))

    def features(self, split: str) -> Dataset:
        """Token ids, label numbers, and the lengths by which the sampler groups."""
        rows = read(self.folder, split)
        numbers = {name: i for i, name in enumerate(self.names)}

        def encoded(batch: dict[str, list[Any]]) -> dict[str, Any]:
            features = self.tokenizer(
                batch["text"],
                truncation=True,
                max_length=self.max_length,
                padding="max_length" if self.padding == "max_length" else False,
            )
            lengths = [len(ids) for ids in features["input_ids"]]
            return {**features, "labels": [numbers[label] for label in batch["label"]], "length": lengths}

        return rows.map(encoded, batched=True, remove_columns=rows.column_names, keep_in_memory=True)

    def model(self, location: str, from_scratch: bool = False) -> PreTrainedModel:
        """A classifier with a new head."""
        config = AutoConfig.from_pretrained(location, num_labels=len(self.names))
        if config.pad_token_id is None:
            # GPT-style classifiers find the last real token by it
            config.pad_token_id = self.tokenizer.pad_token_id
        if from_scratch:
            return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        return AutoModelForSequenceClassification.from_pretrained(location, config=config, dtype=torch.float32)

    def score(self, predictions: Any, features: Dataset) -> float:
        """Accuracy of logits (rows, labels) on the test rows."""
        return float((np.asarray(predictions).argmax(-1) == np.asarray(features["labels"])).mean())


@dataclass(frozen=True)
class Questions:
    """Questions, their contexts in windows, and where answers stand in them."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    padding: str

    def features(self, split: str) -> Dataset:
        """Windows, the tokens of the first true answer, and lengths."""
        padded = "max_length" if self.padding == "max_length" else False
        case = Case("", max_length=self.max_length, stride=STRIDE)
        found = qa_peer.windows(self._rows(split), self.tokenizer, case, with_targets=True, padding=padded)
        return found.add_column("length", [len(ids) for ids in found["input_ids"][:]])

    def model(self, location: str, from_scratch: bool = False) -> PreTrainedModel:
        """A model that scores starts and ends, with a new head."""
        if from_scratch:
            config = AutoConfig.from_pretrained(location)
            return AutoModelForQuestionAnswering.from_config(config, dtype=torch.float32)
        return AutoModelForQuestionAnswering.from_pretrained(location, dtype=torch.float32)

    def score(self, predictions: Any, features: Dataset) -> float:
        """F1 of the answers to the test rows."""
        rows = self._rows("test")
        unanswerable = any(not row["answers"]["text"] for row in self._rows("train"))
        texts = qa_peer.processed(rows, features, predictions[0], predictions[1], unanswerable)
        return qa_peer.scores(texts, [row["answers"]["text"] for row in rows])["f1"]

    def _rows(self, split: str) -> list[dict[str, Any]]:
        return qa_peer.read(self.folder / f"{split}.jsonl")


TASKS: dict[str, Any] = {"classification": Classes, "qa": Questions}


def read(folder: Path, split: str) -> Dataset:
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return Dataset.from_list([json.loads(line) for line in lines])


def load_tokenizer(location: str) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(location)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer
