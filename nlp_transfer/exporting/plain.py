"""A run as one model that plain transformers loads."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from nlp_transfer import artefacts
from nlp_transfer.backbone import ModelSettings
from nlp_transfer.data.features import Features
from nlp_transfer.data.settings import IN_MEMORY
from nlp_transfer.errors import Interrupted, RequestError, Stopped
from nlp_transfer.experiment import fine_tune
from nlp_transfer.exporting.folders import refuse_existing, written
from nlp_transfer.exporting.sample import apart, sample
from nlp_transfer.heads import HeadSettings
from nlp_transfer.methods.head import Head
from nlp_transfer.models.answerer import Answerer
from nlp_transfer.models.pooled import PooledClassifier
from nlp_transfer.models.tagger import Tagger
from nlp_transfer.quiet import quiet
from nlp_transfer.recipe import Recipe
from nlp_transfer.report import last_split
from nlp_transfer.runs import Run

TOLERANCE = 1e-5
"""How far the logits of an exported model may be from the run's, in fp32, as `apart` has it."""


def merged(run: Run, output: Path) -> list[str]:
    """Save a run as one model without a tuner, with the run's logits.

    Args:
        run: finished.
        output: a folder that does not exist yet.

    Returns:
        Sentences for the reader.

    Raises:
        RequestError: where no plain model has the same outputs, with what to do instead.
    """
    refuse_existing(output)
    recipe = Recipe.read(run.folder / "recipe.yaml")
    model = recipe.method.merge(copy.deepcopy(run.model))
    with written(output) as folder:
        artefacts.save(model, run.tokenizer, folder, recipe.model.revision)
        again = artefacts.load(folder, run.task, run.folder / "recipe.yaml", pin=run.pin).to(run.model.device).eval()
        difference = _difference(run, again)
        if not difference <= TOLERANCE:  # no number is no equal
            raise RequestError(
                f"the merged model's logits differ from the run's by {difference:.1e}, more than {TOLERANCE:g}: not "
                "written. Use the run as it is (load_run)."
            )
    said = [f"logits as the run's, to {difference:.1e}."]
    if isinstance(model, PooledClassifier | Answerer | Tagger):
        said.append("its head is none of its architecture's: loading it needs `import nlp_transfer`.")
    return said


def transformers(run: Run, output: Path) -> list[str]:
    """Save a run as a model that plain transformers loads without this package.

    Where the run pools otherwise than its architecture's own classifier, that classifier is trained anew on the run's rows, on
    top of the run's backbone as it is; its scores are said beside the run's.

    Args, Returns and Raises as `merged`.
    """
    recipe = Recipe.read(run.folder / "recipe.yaml")
    model = recipe.method.merge(copy.deepcopy(run.model))
    if isinstance(model, Answerer | Tagger):
        head = "question-answering" if isinstance(model, Answerer) else "token-classification"
        raise RequestError(
            f"transformers has no {head} head for {model.config.backbone_config.model_type}: use --format merged, and load it "
            "after `import nlp_transfer`."
        )
    if not isinstance(model, PooledClassifier):
        return merged(run, output)
    refuse_existing(output)
    if str(recipe.data.source) == IN_MEMORY:
        raise RequestError(
            f"{run.folder} was trained on rows in memory, and its own head must be trained anew on them: train on a file, "
            "or with --head.pooling own."
        )
    with TemporaryDirectory() as temporary:
        backbone = Path(temporary) / "backbone"
        artefacts.save(model.backbone, run.tokenizer, backbone, None)
        own = replace(
            recipe,
            model=ModelSettings(str(backbone)),
            method=Head(),
            head=HeadSettings("own"),
            train=replace(recipe.train, learning_rate=None, frozen="auto", trackers=()),
        )
        try:
            trained = fine_tune(own, output=Path(temporary) / "run", silent=True, trust_remote_code=run.pin)
        except Stopped as stop:  # its folder goes with it
            raise Interrupted("ended before its head was trained; nothing is written.") from stop
        if trained.report["data"]["fingerprint"] != run.report["data"]["fingerprint"]:
            raise RequestError(
                f"{recipe.data.source} has other rows than the run was trained on, and its own head must be trained anew on "
                "those: bring them back, or train with --head.pooling own."
            )
        with written(output) as folder:
            shutil.copytree(trained.artefact, folder, dirs_exist_ok=True)
    metric = run.task.primary.metric
    split = last_split(run.report)
    before, after = (one.scores[split][metric] for one in (run, trained))
    return [f"the architecture's own head was trained anew: {split} {metric} {after:.4f}, the run's {before:.4f}."]


def _difference(run: Run, model: Any) -> float:
    """How far a model's logits are from the run's, on the task's sample."""
    features = Features.of(sample(run), run.task, run.tokenizer)
    inputs = features.fetch(np.arange(len(features))).to(run.model.device).inputs
    with quiet(), torch.inference_mode():
        found, expected = model(**inputs), run.model.eval()(**inputs)
    names = [name for name in expected if name.endswith("logits")]
    return float(
        np.max([apart(found[name].float().cpu().numpy(), expected[name].float().cpu().numpy()) for name in names])
    )
