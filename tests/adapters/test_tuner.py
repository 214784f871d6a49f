"""The tuner under PEFT, on every family and placement: what learns, what changes, what can be undone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, get_args

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel

from nlp_transfer.adapters import BottleneckConfig
from nlp_transfer.adapters.config import Placement
from nlp_transfer.adapters.layer import CHILD, BottleneckLayer
from nlp_transfer.architectures import architecture_of, blocks, part
from nlp_transfer.errors import RequestError
from tests.families import FAMILIES, batch, tiny

PLACEMENTS = get_args(Placement)
CELLS = [(family, placement) for family in FAMILIES for placement in PLACEMENTS]


def adapted(family: str, placement: str = "pfeiffer", /, **settings: Any) -> peft.PeftModel:
    settings = {"task_type": "SEQ_CLS", **settings}
    return peft.get_peft_model(tiny(family), BottleneckConfig(placement=placement, **settings)).eval()


def stirred(model: nn.Module, seed: int = 1) -> nn.Module:
    """The model with adapters that do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".bottleneck_" in name:
                weight.add_(torch.randn(weight.shape, generator=generator).to(weight.device, weight.dtype) * 0.3)
    return model


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch()).logits


def step(model: nn.Module) -> float:
    loss = nn.functional.cross_entropy(model(**batch()).logits.float(), torch.tensor([0, 1, 0, 1]))
    loss.backward()
    return float(loss.detach())


def test_all_cells_are_here() -> None:
    assert len(CELLS) == 19 * 3


@pytest.mark.parametrize(("family", "placement"), CELLS)
def test_a_cell_starts_as_the_backbone_learns_what_it_declares_and_can_be_undone(family: str, placement: str) -> None:
    before = tiny(family)
    plain, weights = logits(before), before.state_dict()
    model = adapted(family, placement)
    assert torch.allclose(logits(model), plain, atol=1e-6, rtol=0)

    learns = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learns
    assert all(".bottleneck_" in name or ".modules_to_save.default." in name for name in learns)
    expected = len(blocks(model)) * (2 if placement == "houlsby" else 1)
    assert sum(isinstance(module, BottleneckLayer) for module in model.modules()) == expected

    step(stirred(model).train())
    assert {name for name, weight in model.named_parameters() if weight.grad is not None} == learns
    for name, weight in model.named_parameters():
        if name in learns:
            assert weight.grad.abs().sum() > 0, name

    model.eval()
    assert not torch.allclose(logits(model), plain, atol=1e-3)
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)
    assert not torch.equal(logits(model), plain)
    with pytest.raises(ValueError, match="cannot be merged: each has an activation"):
        model.merge_and_unload()
    with pytest.raises(ValueError, match="cannot be merged"):
        model.merge_adapter()
    base = model.unload()
    assert type(base) is type(before)
    assert base.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in base.state_dict().items())
    assert torch.equal(logits(base), plain)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "phi", "bloom", "albert"])
def test_what_an_adapter_computes_is_its_formula(family: str, placement: str) -> None:
    """A(y) on hosts is checked against the sums that the base model's own modules see."""
    model = stirred(adapted(family, placement))
    layer = next(module for module in model.modules() if isinstance(module, BottleneckLayer))
    host = layer.get_base_layer()
    states = torch.randn(2, 5, 32)
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    act = torch.nn.functional.silu if placement == "houlsby" else torch.relu
    expected = up(act(down(states))) * (4.0 if placement == "parallel" else 1.0)
    assert torch.allclose(layer.branch("default", states), expected, atol=1e-6)
    form = layer.forms["default"]
    post_norm = family in ("bert", "albert")
    assert form == {"houlsby": "after", "pfeiffer": "within" if post_norm else "after", "parallel": "beside"}[placement]
    if form == "within":
        assert isinstance(host, nn.LayerNorm)
        normed = host.forward(states)
        assert torch.allclose(host(states), host.forward(states + layer.branch("default", normed)), atol=1e-6)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("opt", {"do_layer_norm_before": False}),
        ("opt", {"word_embed_proj_dim": 16}),
        ("albert", {"num_hidden_groups": 2, "inner_group_num": 2}),
        ("bloom", {"apply_residual_connection_post_layernorm": True}),
        ("deberta-v2", {"conv_kernel_size": 3, "conv_act": "gelu"}),
    ],
)
def test_variants_of_a_family_start_as_the_backbone_and_learn(
    family: str, changes: dict[str, Any], placement: str
) -> None:
    plain = logits(tiny(family, **changes))
    # wide enough that never all of its rectifiers are off
    config = BottleneckConfig(placement=placement, bottleneck_size=16, task_type="SEQ_CLS")
    model = peft.get_peft_model(tiny(family, **changes), config).eval()
    assert torch.allclose(logits(model), plain, atol=1e-6, rtol=0)
    step(stirred(model).train())
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters() if weight.requires_grad)
    forms = {module.forms["default"] for module in model.modules() if isinstance(module, BottleneckLayer)}
    assert ("within" in forms) == (architecture_of(model).post_norm and placement == "pfeiffer")


def test_phi_reads_the_input_of_the_block_in_parallel() -> None:
    model = stirred(adapted("phi", "parallel"))
    block = blocks(model)[0]
    layer = block.mlp.fc2.get_submodule(CHILD)
    seen: dict[str, torch.Tensor] = {}
    block.register_forward_pre_hook(lambda _, args: seen.update(into=args[0]))
    block.register_forward_hook(lambda _, __, output: seen.update(out=output))
    logits(model)
    after = seen["out"]
    with model.disable_adapter():
        logits(model)
    assert torch.allclose(after, seen["out"] + layer.branch("default", seen["into"]), atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "llama", "modernbert"])
def test_pfeiffer_in_pre_norm_is_on_the_sum_that_ends_the_block(family: str) -> None:
    model = stirred(adapted(family, layers=[0]))
    seen: dict[str, Any] = {}
    blocks(model)[0].register_forward_hook(lambda _, __, output: seen.update(out=output))
    logits(model)
    with_adapter = seen["out"]
    with model.disable_adapter():
        logits(model)
    before, after = (states[0] if isinstance(states, tuple) else states for states in (seen["out"], with_adapter))
    layer = blocks(model)[0].get_submodule(CHILD)
    assert torch.allclose(after, before + layer.branch("default", before), atol=1e-5)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", ["bert", "llama", "gpt_neo"])
def test_recorded_states_are_those_with_adapters(family: str, placement: str) -> None:
    model = tiny(family, AutoModel)
    with torch.no_grad():
        model(**batch(), output_hidden_states=True)  # whatever records the states is there before the adapters
        wrapped = stirred(peft.get_peft_model(model, BottleneckConfig(placement=placement, layers=[0])).eval())
        states = wrapped(**batch(), output_hidden_states=True).hidden_states
        seen: list[Any] = []
        blocks(wrapped)[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        wrapped(**batch())
    assert torch.equal(states[1], seen[0])


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "mpnet"])
def test_without_adapters_below_no_backward_pass_runs_there(family: str, placement: str) -> None:
    model = adapted(family, placement, layers=[1]).train()
    assert sum(isinstance(module, BottleneckLayer) for module in blocks(model)[0].modules()) == 0
    needs: list[bool] = []
    blocks(model)[1].register_forward_pre_hook(lambda _, args: needs.append(args[0].requires_grad))
    blocks(model)[1].register_forward_hook(
        lambda _, __, output: needs.append((output[0] if isinstance(output, tuple) else output).requires_grad)
    )
    step(model)
    assert needs == [False, True]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_named_adapters(placement: str) -> None:
    model = adapted("bert", placement)
    stirred(model)
    first = logits(model)
    model.add_adapter("second", BottleneckConfig(placement="houlsby", bottleneck_size=3, task_type="SEQ_CLS"))
    assert torch.equal(logits(model), first), "an adapter that is added is not active"
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if ".second" in name)
    model.set_adapter("second")
    learns = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert learns
    assert all(".second" in name for name in learns)
    assert torch.allclose(logits(model), logits(tiny("bert")), atol=1e-6)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    assert model.get_model_status().peft_types == {"default": "BOTTLENECK", "second": "BOTTLENECK"}
    assert model.get_model_status().active_adapters == ["default"]

    model.delete_adapter("default")
    assert model.active_adapters == ["second"]
    assert not [name for name, _ in model.named_parameters() if ".bottleneck_" in name and ".default" in name]
    assert torch.allclose(logits(model), logits(tiny("bert")), atol=1e-6)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == learns
    with pytest.raises(ValueError, match="does not exist"):
        model.delete_adapter("default")


@pytest.mark.parametrize("name", ["bottlenecks", "encoder", "dense", "0", "weight", "bias"])
def test_names_that_would_lose_weights_on_saving_are_refused(name: str) -> None:
    model = adapted("bert")
    with pytest.raises(ValueError, match=f'"{name}" is part of the name of a weight'):
        model.add_adapter(name, BottleneckConfig(task_type="SEQ_CLS"))
    assert list(model.peft_config) == ["default"]
    with pytest.raises(ValueError, match="give the adapter another name"):
        peft.get_peft_model(tiny("bert"), BottleneckConfig(task_type="SEQ_CLS"), adapter_name=name)


def test_a_name_can_be_used_again() -> None:
    model = stirred(adapted("bert"))
    model.add_adapter("adapter", BottleneckConfig(task_type="SEQ_CLS"))
    model.delete_adapter("adapter")
    model.add_adapter("adapter", BottleneckConfig(placement="houlsby", task_type="SEQ_CLS"))
    again = peft.get_peft_model(model.unload(), BottleneckConfig(task_type="SEQ_CLS"))
    assert sum(isinstance(module, BottleneckLayer) for module in again.modules()) == 2


def test_an_inactive_adapter_is_deleted_without_a_trace() -> None:
    model = stirred(adapted("gpt2"))
    before = logits(model)
    model.add_adapter("other", BottleneckConfig(placement="parallel", task_type="SEQ_CLS"))
    model.delete_adapter("other")
    assert model.active_adapters == ["default"]
    assert torch.equal(logits(model), before)


def test_two_active_adapters_act_one_after_the_other() -> None:
    model = peft.get_peft_model(tiny("bert", AutoModel), BottleneckConfig()).eval()
    model.add_adapter("other", BottleneckConfig(placement="parallel"))
    stirred(model)

    def states() -> torch.Tensor:
        with torch.no_grad():
            return model(**batch()).last_hidden_state

    one = states()
    model.base_model.set_adapter("other")
    other = states()
    model.base_model.set_adapter(["default", "other"])
    assert not torch.allclose(states(), one, atol=1e-3)
    assert not torch.allclose(states(), other, atol=1e-3)


def test_refused_additions_leave_the_model_as_it_was() -> None:
    model = stirred(adapted("bert"))
    before, names = logits(model), list(model.state_dict())
    with pytest.raises(ValueError, match="layers 2: the model has 2 blocks"):
        model.add_adapter("high", BottleneckConfig(layers=[2], task_type="SEQ_CLS"))
    assert list(model.state_dict()) == names
    assert list(model.peft_config) == ["default"]
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_copy_is_a_model_of_its_own(family: str, placement: str) -> None:
    model = stirred(adapted(family, placement))
    before = logits(model)
    twin = copy.deepcopy(model)
    stirred(twin, seed=2)
    assert torch.equal(logits(model), before)
    changed = logits(twin)
    assert not torch.allclose(changed, before, atol=1e-3)
    twin.unload()
    assert torch.equal(logits(model), before)
    assert torch.allclose(logits(twin.get_base_model()), logits(tiny(family)), atol=1e-6)
    stirred(model, seed=2)
    assert torch.allclose(logits(model), changed, atol=1e-5)


NOT_CHECKPOINTED = {"albert", "mpnet"}
"""transformers itself cannot."""

CHECKPOINTED = [(family, False) for family in FAMILIES if family not in NOT_CHECKPOINTED]
CHECKPOINTED += [(family, True) for family in ("bert", "deberta-v2", "gpt2", "llama")]


@pytest.mark.parametrize(("family", "reentrant"), CHECKPOINTED)
def test_gradient_checkpointing_changes_no_gradient(family: str, reentrant: bool) -> None:
    for placement in PLACEMENTS:
        # without dropout, but training: eval mode would switch checkpointing off
        model = stirred(adapted(family, placement)).train()
        _without_dropout(model)
        step(model)
        plain = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}
        model.zero_grad()
        base: PreTrainedModel = model.get_base_model()
        base.activation_checkpointing_enable({"use_reentrant": reentrant})
        if reentrant:
            base.enable_input_require_grads()
        first_linear = part(blocks(model)[1], architecture_of(model).feed_forward_input)
        runs: list[nn.Module] = []
        first_linear.register_forward_hook(lambda host, *_, runs=runs: runs.append(host))
        step(model)
        assert len(runs) == 2, "forward, and again on the way back"
        for name, gradient in plain.items():
            assert torch.allclose(gradient, model.get_parameter(name).grad, atol=1e-6), (placement, name)


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def test_checkpointing_that_is_on_before_the_adapters_come_needs_no_further_call() -> None:
    model = tiny("bert").train()
    model.activation_checkpointing_enable({"use_reentrant": True})
    wrapped = peft.get_peft_model(model, BottleneckConfig(task_type="SEQ_CLS"))
    step(stirred(wrapped))
    assert all(weight.grad is not None for weight in wrapped.parameters() if weight.requires_grad)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", ["bert", "deberta-v2", "gpt2", "bloom", "llama"])
def test_a_frozen_backbone_may_be_held_in_bf16(family: str, placement: str) -> None:
    base = tiny(family).to(torch.bfloat16)
    plain = logits(base)
    model = peft.get_peft_model(
        base, BottleneckConfig(placement=placement, scale="learned", task_type="SEQ_CLS")
    ).eval()
    kinds = {weight.dtype for name, weight in model.named_parameters() if ".bottleneck_" in name}
    assert kinds == {torch.float32}
    assert logits(model).dtype == torch.bfloat16
    assert torch.equal(logits(model), plain)
    step(stirred(model).train())
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)


def test_half_precision_is_kept_where_peft_is_told_so() -> None:
    base = tiny("gpt2").to(torch.bfloat16)
    model = peft.get_peft_model(base, BottleneckConfig(task_type="SEQ_CLS"), autocast_adapter_dtype=False)
    assert {weight.dtype for name, weight in model.named_parameters() if ".bottleneck_" in name} == {torch.bfloat16}
    assert torch.isfinite(logits(stirred(model))).all()


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_autocast_runs(family: str) -> None:
    model = stirred(adapted(family, "parallel", scale="learned")).train()
    with torch.autocast("cpu", torch.bfloat16):
        step(model)
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.requires_grad)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_learned_scale_is_one_number_per_place_and_learns(placement: str) -> None:
    model = stirred(adapted("bert", placement, scale="learned")).train()
    scales = {name: weight for name, weight in model.named_parameters() if ".bottleneck_scale" in name}
    assert len(scales) == (4 if placement == "houlsby" else 2)
    assert all(weight.shape == (1,) for weight in scales.values())
    step(model)
    assert all(weight.grad.abs().item() > 0 for weight in scales.values())


def test_a_fixed_scale_multiplies() -> None:
    small, large = (stirred(adapted("llama", scale=scale, layers=[1])) for scale in (0.5, 1.0))
    states = torch.randn(2, 3, 32)
    branch = [blocks(model)[1].get_submodule(CHILD).branch("default", states) for model in (small, large)]
    assert torch.allclose(branch[0] * 2, branch[1], atol=1e-6)


def test_dropout_is_the_adapters_own() -> None:
    model = stirred(adapted("llama", dropout=0.5)).train()
    assert not torch.equal(logits(model), logits(model))
    model.eval()
    assert torch.equal(logits(model), logits(model))


def test_chunked_feed_forwards_are_adapted_chunk_by_chunk() -> None:
    for placement in PLACEMENTS:
        whole = stirred(adapted("bert", placement))
        chunked = stirred(
            peft.get_peft_model(
                tiny("bert", chunk_size_feed_forward=3), BottleneckConfig(placement=placement, task_type="SEQ_CLS")
            ).eval()
        )
        assert torch.allclose(logits(whole), logits(chunked), atol=1e-5)


def test_peft_prints_what_learns(capsys: pytest.CaptureFixture[str]) -> None:
    model = adapted("bert")
    model.print_trainable_parameters()
    head, adapters = 32 * 2 + 2, 2 * (32 * 2 * 2 + 2 + 32)
    assert f"trainable params: {head + adapters:,}" in capsys.readouterr().out


def test_activations_with_weights_of_their_own_learn() -> None:
    model = stirred(adapted("bert", activation="prelu")).train()
    step(model)
    found = [weight for name, weight in model.named_parameters() if ".bottleneck_activation" in name]
    assert len(found) == 2
    assert all(weight.grad is not None for weight in found)


@pytest.mark.parametrize(
    ("family", "placement", "saved"),
    [
        ("bert", "pfeiffer", "LayerNorm"),
        ("bert", "houlsby", "layer.1"),
        ("gpt2", "pfeiffer", "h.1"),
        ("gpt2", "pfeiffer", "1"),
        ("gpt2", "parallel", "ln_2"),
        ("phi", "parallel", "input_layernorm"),
        ("bert", "parallel", "intermediate"),
    ],
)
def test_what_holds_adapters_is_not_saved_whole(family: str, placement: str, saved: str) -> None:
    config = BottleneckConfig(placement=placement, task_type="SEQ_CLS", modules_to_save=[saved])
    with pytest.raises(ValueError, match=f'modules_to_save has "{saved}".* below which an adapter stands'):
        peft.get_peft_model(tiny(family), config)


@pytest.mark.parametrize(
    ("family", "whole"),
    [
        ("bert", {"placement": "houlsby", "modules_to_save": ["LayerNorm"]}),
        ("bert", {"placement": "parallel", "modules_to_save": ["output.LayerNorm"]}),
        ("bert", {"layers": [0], "modules_to_save": ["layer.1"]}),
        ("gpt2", {"layers": [0], "modules_to_save": ["h.1"]}),
    ],
)
def test_what_one_adapter_saves_whole_can_hold_no_other(family: str, whole: dict[str, Any], tmp_path: Path) -> None:
    configs = {"whole": BottleneckConfig(task_type="SEQ_CLS", **whole), "plain": BottleneckConfig(task_type="SEQ_CLS")}
    for name, config in configs.items():
        peft.get_peft_model(tiny(family), copy.deepcopy(config)).save_pretrained(tmp_path / name)
    for first, second in (("whole", "plain"), ("plain", "whole")):
        model = peft.PeftModel.from_pretrained(tiny(family), tmp_path / first, adapter_name=first)
        before = logits(model)
        with pytest.raises(RequestError, match="modules_to_save"):
            model.load_adapter(tmp_path / second, second)
        with pytest.raises(RequestError, match="modules_to_save"):
            model.add_adapter(second, copy.deepcopy(configs[second]))
        assert torch.equal(logits(model), before)
        model.save_pretrained(tmp_path / "again")


def test_adapters_that_save_the_same_head_stand_side_by_side() -> None:
    model = adapted("bert")
    model.add_adapter("other", BottleneckConfig(placement="houlsby", task_type="SEQ_CLS"))
    assert set(model.peft_config) == {"default", "other"}


@pytest.mark.parametrize(("family", "placement"), [("bert", "houlsby"), ("gpt2", "parallel")])
def test_norms_may_be_saved_whole_where_no_adapter_stands_on_them(family: str, placement: str, tmp_path: Path) -> None:
    norm = "LayerNorm" if family == "bert" else "ln_1"
    config = BottleneckConfig(placement=placement, task_type="SEQ_CLS", modules_to_save=[norm])
    model = peft.get_peft_model(tiny(family), config)
    assert [name for name, weight in model.named_parameters() if weight.requires_grad and norm in name]
    model.save_pretrained(tmp_path)
    assert torch.allclose(logits(peft.PeftModel.from_pretrained(tiny(family), tmp_path)), logits(model), atol=1e-6)


def test_one_batch_has_one_adapter() -> None:
    model = adapted("bert")
    with pytest.raises(ValueError, match="adapter_names, an adapter for each row"):
        model(**batch(), adapter_names=["default"] * 4)
