"""A fault in one run of a sweep that must not touch the others: an augmentation that fails by the run's seed."""

import os
import signal
import weakref
from contextlib import suppress

import torch

KEPT: list[weakref.ref] = []  # memory of failed runs that were in this process


class BySeed(torch.nn.Module):
    """Seed 1 raises with 256 MB in hand, 2 asks for more memory than there is, 3 is killed; the others are well.

    Args:
        seed: of the run.
    """

    def __init__(self, *, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, batch):
        print("kept of failed runs:", sum(ref() is not None for ref in KEPT), "threads:", torch.get_num_threads())
        if self.seed == 1:
            ballast = torch.zeros(64_000_000)
            KEPT.append(weakref.ref(ballast))
            raise ValueError(f"a fault in the middle of training, {len(ballast)} numbers in hand")
        if self.seed == 2:
            torch.empty(2**62, dtype=torch.uint8)
        if self.seed == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch


class Kill(torch.nn.Module):
    """An augmentation that kills a group of processes at its first batch.

    Args:
        group: ID of the group.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group: int | None = group

    def forward(self, batch):
        if self.group is not None:
            with suppress(ProcessLookupError):  # killed already, by the run that this one continues
                os.killpg(self.group, signal.SIGKILL)
            self.group = None
        return batch
