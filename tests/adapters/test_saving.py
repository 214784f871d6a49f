"""Adapters saved by PEFT, loaded in a process that imported `nlp_transfer` and nothing else of it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, get_args

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from nlp_transfer.adapters import BottleneckConfig
from nlp_transfer.adapters.config import Placement
from nlp_transfer.aliases import ALIASES, published_name
from nlp_transfer.backbone import Backbone, ModelSettings
from tests.adapters.test_tuner import adapted, logits, stirred
from tests.families import FAMILIES, batch, tiny
from tests.processes import FRESH

READER = """
import copy
import sys
import nlp_transfer
assert not {"peft", "torch", "transformers"} & sys.modules.keys(), "importing the package loads nothing heavy"
from pathlib import Path
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

root = Path(sys.argv[1])
rows = load_file(root / "rows.safetensors")
answers = {}
with torch.no_grad():
    for family in sorted(path.parent for path in root.glob("*/config.json")):
        base = AutoModelForSequenceClassification.from_pretrained(family)
        for number, folder in enumerate(sorted(path.parent for path in family.glob("*/adapter_config.json"))):
            if number == 0:
                model = AutoPeftModelForSequenceClassification.from_pretrained(folder)
            else:
                model = PeftModel.from_pretrained(copy.deepcopy(base), folder, low_cpu_mem_usage=number == 1)
            assert not any(weight.requires_grad for weight in model.parameters())
            answers[f"{family.name}/{folder.name}"] = model.eval()(**rows).logits
save_file(answers, root / "answers.safetensors")
"""


def test_every_cell_is_the_same_in_a_new_process(tmp_path: Path) -> None:
    expected = {}
    for family in FAMILIES:
        tiny(family).save_pretrained(tmp_path / family)
        for placement in get_args(Placement):
            base = tiny(family)
            base.name_or_path = str(tmp_path / family)
            config = BottleneckConfig(placement=placement, scale="learned", task_type="SEQ_CLS")
            model = stirred(peft.get_peft_model(base, config).eval())
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if ".modules_to_save." in name:
                        weight.add_(0.1)
            model.save_pretrained(tmp_path / family / placement)
            expected[f"{family}/{placement}"] = logits(model)
    save_file(batch(), tmp_path / "rows.safetensors")
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", FRESH + READER, str(tmp_path)], check=True, env=offline)
    found = load_file(tmp_path / "answers.safetensors")
    assert len(found) == len(expected) == 57
    for cell, answer in expected.items():
        assert torch.allclose(found[cell], answer, atol=1e-6, rtol=0), cell


def test_the_file_holds_adapters_and_head_and_nothing_else(tmp_path: Path) -> None:
    model = stirred(adapted("deberta-v2", modules_to_save=["pooler"]))
    model.save_pretrained(tmp_path)
    names = load_file(tmp_path / "adapter_model.safetensors").keys()
    assert all(".bottlenecks.bottleneck_" in name or ".classifier." in name or ".pooler." in name for name in names)
    assert any(".pooler." in name for name in names)
    assert any(".classifier." in name for name in names)
    loaded = peft.PeftModel.from_pretrained(tiny("deberta-v2"), tmp_path).eval()
    assert torch.equal(logits(loaded), logits(model))


def test_saved_settings_are_read_again_as_they_were(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "placement": "parallel",
        "bottleneck_size": 5,
        "reduction_factor": None,
        "activation": "gelu_new",
        "scale": "learned",
        "dropout": 0.25,
        "layers": [0, 1],
    }
    model = peft.get_peft_model(tiny("bert"), BottleneckConfig(task_type="SEQ_CLS", **settings))
    model.save_pretrained(tmp_path)
    config = peft.PeftConfig.from_pretrained(tmp_path)
    assert isinstance(config, BottleneckConfig)
    assert {name: getattr(config, name) for name in settings} == settings
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["peft_type"] == "BOTTLENECK"
    assert peft.get_peft_config(saved).to_dict() == config.to_dict()


def test_several_adapters_are_saved_and_loaded_by_name(tmp_path: Path) -> None:
    model = stirred(adapted("gpt2"))
    model.add_adapter("adapter", BottleneckConfig(placement="houlsby", task_type="SEQ_CLS"))
    model.set_adapter("adapter")
    stirred(model, seed=2)
    other = logits(model)
    model.set_adapter("default")
    first = logits(model)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny("gpt2"), tmp_path).eval()
    assert torch.equal(logits(loaded), first)
    loaded.load_adapter(tmp_path / "adapter", "renamed")
    loaded.set_adapter("renamed")
    assert torch.equal(logits(loaded), other)


def test_training_goes_on_from_a_saved_adapter(tmp_path: Path) -> None:
    stirred(adapted("bert")).save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path, is_trainable=True)
    learns = {name for name, weight in loaded.named_parameters() if weight.requires_grad}
    assert learns == {name for name, weight in adapted("bert").named_parameters() if weight.requires_grad}


def test_a_local_folder_is_called_by_its_path(tmp_path: Path) -> None:
    tiny("bert").save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    model = peft.get_peft_model(base, BottleneckConfig(task_type="SEQ_CLS"))
    model.save_pretrained(tmp_path / "adapter")
    saved = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(tmp_path / "base")


def test_whoever_asks_for_adapters_can_name_the_base_model(tmp_path: Path) -> None:
    config = BottleneckConfig(task_type="SEQ_CLS", backbone="owner/model", revision="abc123")
    model = peft.get_peft_model(tiny("bert"), config)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (saved["base_model_name_or_path"], saved["revision"]) == ("owner/model", "abc123")
    assert "backbone" not in saved
    assert "owner/model" in (tmp_path / "README.md").read_text()
    loaded = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path)
    loaded.save_pretrained(tmp_path / "again", save_embedding_layers=False)
    again = json.loads((tmp_path / "again" / "adapter_config.json").read_text())
    assert (again["base_model_name_or_path"], again["revision"]) == ("owner/model", "abc123")


def test_a_packaged_alias_is_called_by_its_hub_id_and_its_adapter_is_small(tmp_path: Path) -> None:
    if importlib.util.find_spec(ALIASES["minilm"].package) is None:
        pytest.skip("the package with the files of minilm is not installed")
    folder = Backbone.find(ModelSettings("minilm")).location
    assert published_name(folder) == "sentence-transformers/all-MiniLM-L6-v2"
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=6)
    model = peft.get_peft_model(base, BottleneckConfig(task_type="SEQ_CLS", reduction_factor=16))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save_pretrained(tmp_path)
    for file in ("adapter_config.json", "README.md"):
        text = (tmp_path / file).read_text()
        assert "sentence-transformers/all-MiniLM-L6-v2" in text, file
        assert "site-packages" not in text, file
        assert ALIASES["minilm"].package not in text, file
    size = (tmp_path / "adapter_model.safetensors").stat().st_size
    assert size < 0.05 * (Path(folder) / "model.safetensors").stat().st_size


def test_other_locations_are_called_what_they_are(tmp_path: Path) -> None:
    for name in ("owner/model", str(tmp_path), ""):
        assert published_name(name) == name


def test_a_model_without_a_head_is_loaded_by_its_class(tmp_path: Path) -> None:
    tiny("llama", AutoModel).save_pretrained(tmp_path / "base")
    base = AutoModel.from_pretrained(tmp_path / "base")
    model = stirred(peft.get_peft_model(base, BottleneckConfig()).eval())
    model.save_pretrained(tmp_path / "adapter")
    loaded = peft.AutoPeftModel.from_pretrained(tmp_path / "adapter").eval()
    with torch.no_grad():
        assert torch.equal(loaded(**batch()).last_hidden_state, model(**batch()).last_hidden_state)
