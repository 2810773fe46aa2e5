"""Recurrent auto-encoder: reads a window frame by frame and writes it back from its last state."""

from torch import Tensor, nn

from mimii_pl.model._encoders import LSTMEncoder
from mimii_pl.model._window_ae import WindowAE


class LSTMAE(WindowAE):
    """LSTM auto-encoder (Malhotra et al., ICML workshop 2016) over the frames of a window.

    The encoder reads one spectrum per time step; its last hidden state is the bottleneck. The decoder gets it at every
    step and gives the frames. (The source document runs the LSTM over the values of the window one by one, 320 steps;
    frames are what has an order in time.)

    Args:
        in_shape: (1, F, N) of a spectrum.
        n_ids: machine IDs; not used.
        hidden: units of each LSTM layer.
        layers: LSTM layers in the encoder, and as many in the decoder.
        **window: see `WindowAE`.
    """

    def __init__(
        self, in_shape: tuple[int, int, int], n_ids: int, *, hidden: int = 64, layers: int = 2, **window
    ) -> None:
        super().__init__(in_shape, n_ids, **window)
        self.encoder = LSTMEncoder(self.frames, self.bins, hidden, layers)
        self.decoder = _Writer(self.frames, self.bins, hidden, layers)


class _Writer(nn.Module):
    def __init__(self, frames: int, bins: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.frames, self.lstm = frames, nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, bins)

    def forward(self, z: Tensor) -> Tensor:
        """[M, hidden] -> [M, frames * F]."""
        return self.out(self.lstm(z[:, None].expand(-1, self.frames, -1))[0]).flatten(1)
