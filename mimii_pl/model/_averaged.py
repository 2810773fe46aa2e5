"""Exponential moving average of a network's weights, kept as buffers beside it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class Averaged(nn.Module):
    """Averages of the weights and buffers of a network, with which it is called in evaluation.

    The decay grows from .1 with the number of updates, (1 + n) / (10 + n), so that the first random weights are soon
    forgotten.

    Args:
        network: whose weights are averaged; it stays the owner's, and no part of this module.
        decay: of the average from update to update, at most.
    """

    updates: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("updates", torch.tensor(0))
        for name, value in network.state_dict().items():
            self.register_buffer(_buffer_name(name), value.clone())

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the averages towards the present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates.item()) / (10 + self.updates.item()))
        for name, value in network.state_dict().items():
            average = self.get_buffer(_buffer_name(name))
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def call(self, network: nn.Module, *args: Any) -> Any:
        """Call the network with the averages in place of its weights."""
        state = {name: self.get_buffer(_buffer_name(name)) for name in network.state_dict()}
        return functional_call(network, state, args)


def _buffer_name(name: str) -> str:
    """Spell the name of a weight without dots, which names of buffers cannot have."""
    return name.replace(".", "|")
