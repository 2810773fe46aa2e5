"""The level of a clip: the baseline that every detector has to beat."""

import torch
from torch import Tensor

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._training_free import TrainingFree


class Level(TrainingFree):
    """Distance of a clip's level from the median level of the training clips, in dB.

    Not trained. The baseline that every detector has to beat: on the original MIMII recordings the level alone reaches
    an AUC of .90 on 9 of 16 machine IDs, so a detector that does not beat it has learned loudness only.

    Args:
        in_shape: (C, F, N) of the features; not used, it reads the waveform.
        n_ids: number of machine IDs.
        per_id: compare with the median of the clip's own machine ID, or with that of all clips if the ID was not seen
            in training; False: always with that of all clips.
    """

    median: Tensor

    def __init__(self, in_shape: tuple[int, int, int], n_ids: int, *, per_id: bool = True) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.uses_machine_id = per_id
        self.register_buffer("median", torch.zeros(n_ids + 1))  # dB; the last one is over all IDs
        self.observed: list[tuple[Tensor, Tensor]] = []  # levels in dB and machine IDs of each batch, both [B]

    def observe(self, batch: Batch) -> None:
        self.observed.append((self.embed(batch)[:, 0], batch.machine_id))

    def finish_fit(self) -> None:
        level, ids = (torch.cat(parts) for parts in zip(*self.observed, strict=True))
        for number in ids.unique():
            self.median[number] = level[ids == number].median()
        self.median[-1] = level.median()
        self.observed.clear()

    def score(self, batch: Batch) -> Tensor:
        level = self.embed(batch)[:, 0]
        own = self.median[batch.machine_id] if self.hparams.per_id else self.median[-1]  # ID -1, unknown: the last one
        return (level - own).abs()

    def embed(self, batch: Batch) -> Tensor:
        """Compute the level in dB relative to full scale, [B, 1]."""
        return 10 * torch.log10(batch.wave.square().mean(dim=1, keepdim=True) + 1e-10)
