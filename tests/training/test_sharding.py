"""What is refused before and after sharding, and how parts become tensors again; the rest is in tests/test_scale.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

from nlp_transfer import RequestError, cli, environment, samples
from nlp_transfer.errors import TrainingError
from nlp_transfer.training import randomness, sharding

CONFIGURATIONS = sorted((Path(__file__).parents[2] / "recipes" / "accelerate").glob("*.yaml"))


def test_one_process_has_nobody_to_share_with(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--task", "sentiment", "--data", str(samples.path("sentiment")), "--model", str(tiny_bert)]
    assert cli.main([*words, "--train.sharded", "--output", str(tmp_path / "run")]) == 2
    assert "train.sharded spreads a model over several processes, and this is one" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("by", ["setting", "configuration"])
def test_weights_that_unfreeze_on_their_way_are_refused(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", str(by == "configuration"))
    two = SimpleNamespace(num_processes=2)
    with pytest.raises(RequestError, match=r"--method\.gradual"):
        sharding.agree(by == "setting", True, two)  # type: ignore[arg-type]
    sharding.agree(by == "setting", False, two)  # type: ignore[arg-type]


def test_a_model_that_is_whole_all_the_same_ends_the_training() -> None:
    with pytest.raises(TrainingError, match=r"every process holds 2 tensors whole \(weight, bias\).*fsdp_version: 2"):
        sharding.refuse_whole(torch.nn.Linear(2, 2))


def test_parts_of_a_tensor_become_one_and_a_number_stays_one() -> None:
    rows = torch.arange(10.0).reshape(5, 2)
    parts = list(rows.chunk(3))
    assert torch.equal(sharding.part_of(parts, torch.empty(5, 2)), rows)
    steps = torch.tensor(7.0)
    assert torch.equal(sharding.part_of([steps, steps], torch.empty(5, 2)), steps)


def test_every_process_of_every_seed_draws_from_a_stream_of_its_own() -> None:
    seeds = [randomness.seed_of(seed, rank) for seed in range(20) for rank in range(8)]
    assert len(set(seeds)) == len(seeds)
    assert [randomness.seed_of(seed, 0) for seed in range(20)] == list(range(20)), "one process is the first of several"


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.stem)
def test_a_configuration_is_one_of_accelerate_and_says_that_it_was_not_run(file: Path) -> None:
    assert len(CONFIGURATIONS) == 3
    assert isinstance(load_config_from_file(str(file)), ClusterConfig)
    text = file.read_text(encoding="utf-8")
    assert "NOT RUN BY US" in text
    if "FSDP" in text.split("distributed_type")[1]:
        assert load_config_from_file(str(file)).fsdp_config["fsdp_version"] == 2


@pytest.mark.parametrize("seconds", ["soon", "0", "-3", "inf"])
def test_a_time_to_wait_that_is_none_is_refused(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.TIMEOUT, seconds)
    with pytest.raises(RequestError, match=r"NLP_TRANSFER_TIMEOUT is .* expected a number of seconds above 0"):
        environment.timeout()


@pytest.mark.parametrize(
    ("message", "known"),
    [
        ("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242", True),
        (
            "[/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 10000ms for recv",
            True,
        ),
        ("NCCL communicator was aborted on rank 1.", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_that_another_process_is_gone_is_known_from_the_error(message: str, known: bool) -> None:
    assert bool(environment.lost(RuntimeError(message))) == known
