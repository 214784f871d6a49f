"""Methods: which weights learn, and nothing else. One file each; the file's name is the method's name."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import nn

from nlp_transfer import members
from nlp_transfer.errors import RequestError
from nlp_transfer.training.loop import decay_groups
from nlp_transfer.training.settings import TrainSettings

EVERY_BLOCK = sys.maxsize
"""The answer of `frozen_blocks` where the whole backbone never changes, its final norm included."""


@dataclass(frozen=True)
class Method(ABC):
    """Says which weights learn. Its fields are its settings."""

    default_learning_rate: ClassVar[float]
    """Peak learning rate when `train.learning_rate` is not given, so that one recipe serves all methods."""
    from_scratch: ClassVar[bool] = False
    """Whether it can train a model that knows nothing yet; the others would leave random weights as they are."""
    encoder_pooling: ClassVar[str] = "own"
    """What `head.pooling auto` means on an encoder."""
    decoder_pooling: ClassVar[str] = "own"
    """What `head.pooling auto` means on a decoder."""

    @property
    def name(self) -> str:
        """The method's name: that of its file."""
        return members.name_of(self)

    @property
    def virtual_tokens(self) -> int:
        """How many tokens it puts before every text: so many less of the text can be read."""
        return 0

    def settled(self, settings: TrainSettings) -> Self:  # noqa: ARG002
        """The method with what it leaves open settled, by the settings of training where they say it; by default nothing is."""
        return self

    @property
    def multiplies_alone(self) -> bool:
        """Whether it saves what learns apart from the linears that never do, and has these multiplied and nothing else: a
        training in bf16 may then hold them in bf16."""
        return False

    @abstractmethod
    def apply(self, model: nn.Module, head: Sequence[str]) -> nn.Module:
        """Freeze weights or put modules in; give back the model that trains.

        Args:
            model: as loaded, everything trainable.
            head: names of the head's parameters: they always train and are always saved.
        """

    def frozen_blocks(self, model: nn.Module) -> int:  # noqa: ARG002
        """How many blocks from the bottom never change, embeddings included as soon as it is one or more; or `EVERY_BLOCK`."""
        return 0

    @property
    def in_stages(self) -> bool:
        """Whether `unfreeze` changes from epoch to epoch what learns: several processes must then look which gradients exist."""
        return False

    def parameter_groups(
        self,
        model: nn.Module,
        head: Sequence[str],  # noqa: ARG002
        settings: TrainSettings,
    ) -> list[dict[str, Any]]:
        """Groups for AdamW of all that will ever learn: here what requires a gradient, with weight decay on matrices only.

        Args:
            model: with the method applied.
            head: as `apply` has them.
            settings: rate and decay.
        """
        trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        return decay_groups(trainable, settings)

    def unfreeze(self, model: nn.Module, head: Sequence[str], epoch: int) -> None:  # noqa: B027
        """Called at an epoch's start: have exactly those weights require a gradient that learn in it. By default all epochs are
        the same.

        It is called again for the epochs gone by when a training is resumed, so it must depend on the epoch alone.
        """

    @abstractmethod
    def merge(self, model: nn.Module) -> nn.Module:
        """A plain model with the same outputs; an error, which leaves the model as it was, where no plain model has them."""


def freeze_all_but(model: nn.Module, learning: Sequence[str]) -> nn.Module:
    """The same model, in which only the parameters of these names learn."""
    names = set(learning)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return model


def refuse(wrong: bool, message: str) -> None:
    """Refuse a setting that no model could have.

    Raises:
        RequestError: with the message, if it is wrong.
    """
    if wrong:
        raise RequestError(message)


def refuse_blocks(layers: Sequence[int] | None, top: int) -> None:
    """Refuse numbers of blocks that no model could have.

    Raises:
        RequestError: for a list that is empty or holds negative numbers, or a negative count.
    """
    refuse(
        layers is not None and (not layers or min(layers) < 0),
        f"method.layers is {layers}: expected numbers of blocks, from 0 at the bottom.",
    )
    refuse(top < 0, f"method.top is {top}: expected 0 blocks or more.")


def names() -> list[str]:
    """All methods, by file name."""
    return members.names(sys.modules[__name__])


def find(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        RequestError: for an unknown name, with the nearest one.
    """
    return members.find(sys.modules[__name__], name, Method)
