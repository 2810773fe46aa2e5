"""Recurrent auto-encoder: encodes a window frame by frame and decodes it from the last state."""

from typing import Any

from torch import Tensor, nn

from mimii_pl.model._encoders import LSTMEncoder
from mimii_pl.model._window_ae import WindowAE


class LSTMAE(WindowAE):
    """LSTM auto-encoder over the frames of a log-mel window (Malhotra et al., ICML workshop 2016).

    One of the MIMII framework's auto-encoders. The encoder reads one spectrum per time step; its last hidden state is
    the bottleneck. The decoder receives it at every step and outputs the frames. (The source document runs the LSTM
    over the values of the window one by one, 320 steps; here it follows time, frame by frame.)

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: number of machine IDs; not used.
        hidden: units of each LSTM layer.
        layers: LSTM layers in the encoder, and in the decoder.
        **window: see `WindowAE`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_ids: int, *, hidden: int = 64, layers: int = 2, **window: Any
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        self.encoder = LSTMEncoder(self.frames, self.bins, hidden, layers)
        self.decoder = _LSTMDecoder(self.frames, self.bins, hidden, layers)


class _LSTMDecoder(nn.Module):
    def __init__(self, frames: int, bins: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.frames, self.lstm = frames, nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, bins)

    def forward(self, z: Tensor) -> Tensor:
        """Decode windows, [M, hidden] -> [M, frames * F]."""
        return self.out(self.lstm(z[:, None].expand(-1, self.frames, -1))[0]).flatten(1)
