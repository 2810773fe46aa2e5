"""Dense auto-encoder: the DCASE task 2 and MIMII baselines and their relatives."""

from typing import Any

from torch import nn

from mimii_pl.model._detector import Integers
from mimii_pl.model._encoders import dense
from mimii_pl.model._window_ae import WindowAE


class DenseAE(WindowAE):
    """Dense auto-encoder of log-mel windows, the official baseline of DCASE 2020 task 2 (Koizumi et al., DCASE 2020).

    The baseline to start with: it is fast and needs no machine IDs. Layers width-hidden-bottleneck-hidden
    reversed-width, with ReLU and, optionally, batch norm. The presets `mimii_ae`, `simple_ae` and `deep_ae` are other
    widths of the same network.

    Args:
        in_shape: (1, F, N) of a log-mel spectrum.
        n_ids: number of machine IDs; not used.
        hidden: units of the layers from input to bottleneck; the decoder mirrors them.
        bottleneck: units of the middle layer.
        batch_norm: batch norm after every layer but the last.
        linear_bottleneck: no batch norm and no ReLU after the middle layer.
        **window: see `WindowAE`.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        hidden: Integers = (128, 128, 128, 128),
        bottleneck: int = 8,
        batch_norm: bool = True,
        linear_bottleneck: bool = False,
        **window: Any,
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        if linear_bottleneck:
            encoder = [*dense(self.width, *hidden, batch_norm=batch_norm), nn.Linear(hidden[-1], bottleneck)]
        else:
            encoder = dense(self.width, *hidden, bottleneck, batch_norm=batch_norm)
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(
            *dense(bottleneck, *reversed(hidden), batch_norm=batch_norm), nn.Linear(hidden[0], self.width)
        )
