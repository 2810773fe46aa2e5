"""The base of every representation: a short-time Fourier transform with two engines that agree, and normalization."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError

CPU_CHUNK = 640_000  # samples per transform on the CPU: page faults make one large output up to 4 times slower
EPS = 1e-8


class Statistics(NamedTuple):
    """Mean and standard deviation that normalise a representation; both broadcast against `[B, C, F, N]`."""

    mean: Tensor
    std: Tensor


class Spectral(nn.Module):
    """Base of the spectral representations: framing, transform engine and normalization.

    A clip of T samples has `T // hop + 1` frames, centred on multiples of the hop; beyond its ends the clip is padded.

    Args:
        sample_rate: sampling frequency of the waveforms in Hz.
        n_fft: transform and window length in samples.
        hop: samples from one frame to the next.
        window: name of the window in `scipy.signal.get_window`, in its periodic form.
        normalize: `none`; `clip`: zero mean and unit variance over each clip and channel; `train`: zero mean and unit
            variance of each bin over the training clips; `minmax`: to 0..1 by the lowest and highest value of the
            training clips (`train` and `minmax` are fitted by the data module).
        padding: beyond the ends of a clip: `reflect` (the default of librosa and torch) or `zeros`.
        engine: `torch` (FFT), `nnaudio` (convolution, exportable), or `auto`: nnAudio on CUDA, torch elsewhere.
    """

    channels = 1
    window: Tensor  # [n_fft]

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 512,
        window: str = "hann",
        normalize: Literal["none", "clip", "train", "minmax"] = "none",
        padding: Literal["reflect", "zeros"] = "reflect",
        engine: Literal["auto", "torch", "nnaudio"] = "auto",
    ) -> None:
        super().__init__()
        self.sample_rate, self.n_fft, self.hop = sample_rate, n_fft, hop
        self.window_name, self.normalize, self.padding, self.engine = window, normalize, padding, engine
        self.fitted: Statistics | None = None
        self.register_buffer("window", _window(window, n_fft), persistent=False)
        self._nnaudio: nn.Module | None = None

    # --- sizes -------------------------------------------------------------------------------------------------------
    @property
    def bins(self) -> int:
        """Number of frequency bins F of the representation."""
        return self.n_fft // 2 + 1

    @property
    def edges(self) -> np.ndarray:
        """Edges of the frequency bins in Hz, [F + 1], ascending."""
        width = self.sample_rate / self.n_fft
        return np.clip((np.arange(self.bins + 1) - 0.5) * width, 0, self.sample_rate / 2)

    def frames(self, samples: int) -> int:
        """Return the number of frames N of a clip of `samples` samples."""
        return samples // self.hop + 1

    def shape(self, samples: int) -> tuple[int, int, int]:
        """Return the shape (C, F, N) of a clip of `samples` samples."""
        return self.channels, self.bins, self.frames(samples)

    def span(self, frame: int, count: int) -> tuple[int, int]:
        """Return first sample and length of the waveform under `count` frames from `frame`; may reach past the clip."""
        return frame * self.hop - self.n_fft // 2, (count - 1) * self.hop + self.n_fft

    def validate(self) -> None:
        """Raise InputError for options that contradict the sampling frequency; warn of those that waste bins."""

    # --- transform ---------------------------------------------------------------------------------------------------
    def forward(self, wave: Tensor, *, cropped: bool = False, statistics: Statistics | None = None) -> Tensor:
        """Represent waveforms.

        Args:
            wave: [B, T], full scale is 1; whole clips, or with `cropped` the samples under the crop's frames (see
                `span`).
            statistics: of the clips that crops were taken from; needed for crops with `normalize=clip`.

        Returns:
            [B, C, F, N], float32.
        """
        if not cropped:
            wave = self.pad(wave)
        return self.normalized(self.transform(wave), statistics)

    def pad(self, wave: Tensor) -> Tensor:
        """Pad half a window at both ends: [B, T] -> [B, T + n_fft]."""
        half = self.n_fft // 2
        if self.padding == "zeros":
            return F.pad(wave, (half, half))
        if wave.shape[-1] <= half:
            raise InputError(
                f"a clip of {wave.shape[-1]} samples is too short for a transform of features.n_fft={self.n_fft}: "
                f"set features.n_fft to {wave.shape[-1]} or less, or set dataset.seconds to repeat short recordings"
            )
        if torch.compiler.is_exporting():
            return F.pad(wave[:, None], (half, half), mode="reflect")[:, 0]
        ends = wave[:, 1 : half + 1].flip(1), wave[:, -half - 1 : -1].flip(1)
        return torch.cat([ends[0], wave, ends[1]], dim=1)  # a third of the time of `pad`

    def transform(self, wave: Tensor) -> Tensor:
        """Represent a padded or cropped waveform [B, T] as [B, C, F, N], before normalization."""
        if wave.device.type != "cpu" or torch.compiler.is_exporting():  # an exported graph takes any number of clips
            return self.represent(self.stft(wave))
        step = max(1, CPU_CHUNK // wave.shape[-1])
        return torch.cat([self.represent(self.stft(part)) for part in wave.split(step)])

    def to_device(self, device: torch.device | str) -> None:
        """Move to a device; does nothing if already there, since every batch calls it."""
        if self.window.device != torch.device(device):
            self.to(device)

    def stft(self, wave: Tensor) -> Tensor:
        """Transform a padded or cropped waveform [B, T] to a complex spectrum [B, n_fft/2+1, N]."""
        if self.engine == "nnaudio" or (self.engine == "auto" and wave.is_cuda):
            real, imag = self._convolution(wave.device)(wave).unbind(-1)
            return torch.complex(real, imag)
        return torch.stft(wave, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)

    def represent(self, spectrum: Tensor) -> Tensor:
        """Turn a complex spectrum [B, n_fft/2+1, N] into a real representation [B, C, F, N]."""
        raise NotImplementedError

    def _convolution(self, device: torch.device) -> nn.Module:
        if self._nnaudio is None:
            from nnAudio.features import STFT

            self._nnaudio = STFT(
                self.n_fft,
                hop_length=self.hop,
                window=self.window_name,
                freq_scale="no",
                center=False,
                output_format="Complex",
                verbose=False,
            ).requires_grad_(False)
        return self._nnaudio.to(device)

    # --- normalization -----------------------------------------------------------------------------------------------
    def fit(self, specs: Iterable[Tensor]) -> None:
        """Fit the normalization to training specs [B, C, F, N].

        `train`: mean and standard deviation per channel and bin; `minmax`: lowest value and range over everything.
        """
        if self.normalize == "minmax":
            lows, highs = zip(*(torch.aminmax(spec) for spec in specs), strict=True)
            low, high = torch.stack(lows).min(), torch.stack(highs).max()
            self.fitted = Statistics(low, high - low)
            return
        count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for spec in specs:
            spec = spec.double()
            count += spec.shape[0] * spec.shape[3]
            total = total + spec.sum(dim=(0, 3), keepdim=True)  # [1, C, F, 1]
            squares = squares + spec.square().sum(dim=(0, 3), keepdim=True)
        mean = total / count
        self.fitted = Statistics(mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float())

    def clip_statistics(self, spec: Tensor) -> Statistics:
        """Compute mean and standard deviation per clip and channel, each [B, C, 1, 1]."""
        std, mean = torch.std_mean(spec, dim=(2, 3), keepdim=True, correction=0)
        return Statistics(mean, std)

    def normalized(self, spec: Tensor, statistics: Statistics | None = None) -> Tensor:
        """Normalize a representation [B, C, F, N]; `statistics` as for `forward`."""
        if self.normalize == "none":
            return spec
        if self.normalize in ("train", "minmax"):
            if self.fitted is None:
                raise RuntimeError(f"features.normalize={self.normalize} needs training statistics: call fit first")
            statistics = Statistics(*(part.to(spec.device) for part in self.fitted))
        mean, std = statistics or self.clip_statistics(spec)
        return (spec - mean) / (std + EPS)


def magnitude(spectrum: Tensor, power: float) -> Tensor:
    """Compute |X|^power of a complex spectrum; power 2, the default, takes no root."""
    squared = (spectrum * spectrum.conj()).real
    return squared if power == 2 else squared ** (power / 2)


def _window(name: str, length: int) -> Tensor:
    if name == "hann":  # as scipy computes it, bit for bit; importing scipy.signal takes longer than many a run
        return torch.from_numpy(0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, length + 1)[:-1])).float()
    from scipy.signal import get_window

    return torch.from_numpy(get_window(name, length, fftbins=True)).float()
