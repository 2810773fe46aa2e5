"""Short-time Fourier transform with two engines that agree, and the normalisation every representation shares."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimii_pl.core.errors import InputError

CPU_CHUNK = 640_000  # samples per transform on the CPU, where one large output is bound by page faults (up to 4 times)
EPS = 1e-8


class Statistics(NamedTuple):
    """Mean and standard deviation that normalise a representation; both broadcast against `[B, C, F, N]`."""

    mean: Tensor
    std: Tensor


class Spectral(nn.Module):
    """Base of the spectral representations: framing, the transform's engine and normalisation.

    A clip of T samples has `T // hop + 1` frames, centred on multiples of the hop over the clip with its ends reflected
    (librosa's and torch's default).

    Args:
        sample_rate: sampling frequency of the waveforms in Hz.
        n_fft: transform length in samples; the window is as long.
        hop: samples from one frame to the next.
        window: name of the window in `scipy.signal.get_window`, periodic form.
        normalize: `none`; `clip`: zero mean and unit variance over each clip, channel by channel; `train`: each bin
            by its mean and standard deviation over the training clips; `minmax`: to 0..1 by their lowest and highest
            value (both fitted by the DataModule).
        engine: `torch` (FFT), `nnaudio` (convolution, exportable), or `auto`: nnAudio on CUDA, torch elsewhere.
    """

    channels = 1

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 512,
        window: str = "hann",
        normalize: Literal["none", "clip", "train", "minmax"] = "none",
        engine: Literal["auto", "torch", "nnaudio"] = "auto",
    ) -> None:
        super().__init__()
        self.sample_rate, self.n_fft, self.hop = sample_rate, n_fft, hop
        self.window_name, self.normalize, self.engine = window, normalize, engine
        self.fitted: Statistics | None = None
        self.register_buffer("window", _window(window, n_fft), persistent=False)
        self._nnaudio: nn.Module | None = None

    # --- sizes -------------------------------------------------------------------------------------------------------
    @property
    def bins(self) -> int:
        """Frequency bins F of the representation."""
        return self.n_fft // 2 + 1

    @property
    def edges(self) -> np.ndarray:
        """Edges of the frequency bins in Hz, [F + 1], rising."""
        width = self.sample_rate / self.n_fft
        return np.clip((np.arange(self.bins + 1) - 0.5) * width, 0, self.sample_rate / 2)

    def frames(self, samples: int) -> int:
        """Frames N of a clip of `samples` samples."""
        return samples // self.hop + 1

    def shape(self, samples: int) -> tuple[int, int, int]:
        """Shape (C, F, N) of a clip of `samples` samples."""
        return self.channels, self.bins, self.frames(samples)

    def span(self, frame: int, count: int) -> tuple[int, int]:
        """First sample and length of the waveform under `count` frames from `frame` on; it may reach past the clip."""
        return frame * self.hop - self.n_fft // 2, (count - 1) * self.hop + self.n_fft

    # --- transform ---------------------------------------------------------------------------------------------------
    def forward(self, wave: Tensor, *, cropped: bool = False, statistics: Statistics | None = None) -> Tensor:
        """Represent waveforms.

        Args:
            wave: [B, T], full scale is 1; whole clips, or with `cropped` the samples under some frames (see `span`).
            statistics: those of the clips a crop came from; needed for crops under `normalize=clip`.

        Returns:
            [B, C, F, N], float32.
        """
        if not cropped:
            wave = self.pad(wave)
        return self._normalized(self.transform(wave), statistics)

    def pad(self, wave: Tensor) -> Tensor:
        """Reflect half a window at both ends: [B, T] -> [B, T + n_fft]."""
        half = self.n_fft // 2
        if wave.shape[-1] <= half:
            raise InputError(
                f"a clip of {wave.shape[-1]} samples is too short for a transform of features.n_fft={self.n_fft}: "
                f"set it to {wave.shape[-1]} at most, or dataset.seconds to repeat short recordings"
            )
        return F.pad(wave[:, None], (half, half), mode="reflect")[:, 0]

    def transform(self, wave: Tensor) -> Tensor:
        """Representation [B, C, F, N] before normalisation of a padded or cropped waveform [B, T]."""
        step = max(1, CPU_CHUNK // wave.shape[-1]) if wave.device.type == "cpu" else len(wave)
        return torch.cat([self.represent(self.stft(part)) for part in wave.split(step)])

    def to_device(self, device: torch.device | str) -> None:
        """Move to a device; nothing is done where it is there already, as it is asked for in every batch."""
        if self.window.device != torch.device(device):
            self.to(device)

    def stft(self, wave: Tensor) -> Tensor:
        """Complex spectrum [B, F, N] of a padded or cropped waveform [B, T]."""
        if self.engine == "nnaudio" or (self.engine == "auto" and wave.is_cuda):
            real, imag = self._convolution(wave.device)(wave).unbind(-1)
            return torch.complex(real, imag)
        return torch.stft(wave, self.n_fft, self.hop, window=self.window, center=False, return_complex=True)

    def represent(self, spectrum: Tensor) -> Tensor:
        """Real representation [B, C, F, N] of a complex spectrum [B, n_fft/2+1, N]."""
        raise NotImplementedError

    def _convolution(self, device: torch.device) -> nn.Module:
        if self._nnaudio is None:
            from nnAudio.features import STFT

            self._nnaudio = STFT(
                self.n_fft, hop_length=self.hop, window=self.window_name, freq_scale="no", center=False,
                output_format="Complex", verbose=False,
            ).requires_grad_(False)  # fmt: skip
        return self._nnaudio.to(device)

    # --- normalisation -----------------------------------------------------------------------------------------------
    def fit(self, specs: Iterable[Tensor]) -> None:
        """Take from training specs [B, C, F, N] what `normalize=train` (mean and standard deviation per channel and
        bin) or `normalize=minmax` (lowest value and range, over everything) needs."""
        if self.normalize == "minmax":
            low, high = zip(*(torch.aminmax(spec) for spec in specs), strict=True)
            low, high = torch.stack(low).min(), torch.stack(high).max()
            self.fitted = Statistics(low, high - low)
            return
        count, total, squares = 0, 0.0, 0.0
        for spec in specs:
            spec = spec.double()
            count += spec.shape[0] * spec.shape[3]
            total = total + spec.sum(dim=(0, 3), keepdim=True)  # [1, C, F, 1]
            squares = squares + spec.square().sum(dim=(0, 3), keepdim=True)
        mean = total / count
        self.fitted = Statistics(mean.float(), (squares / count - mean.square()).clamp(min=0).sqrt().float())

    def clip_statistics(self, spec: Tensor) -> Statistics:
        """Mean and standard deviation per clip and channel, [B, C, 1, 1]."""
        std, mean = torch.std_mean(spec, dim=(2, 3), keepdim=True, correction=0)
        return Statistics(mean, std)

    def _normalized(self, spec: Tensor, statistics: Statistics | None) -> Tensor:
        if self.normalize == "none":
            return spec
        if self.normalize in ("train", "minmax"):
            if self.fitted is None:
                raise RuntimeError(f"normalize={self.normalize} needs statistics of the training clips: call fit first")
            statistics = Statistics(*(part.to(spec.device) for part in self.fitted))
        mean, std = statistics or self.clip_statistics(spec)
        return (spec - mean) / (std + EPS)


def magnitude(spectrum: Tensor, power: float) -> Tensor:
    """|X|^power of a complex spectrum; power 2, the usual one, without a root."""
    squared = (spectrum * spectrum.conj()).real
    return squared if power == 2 else squared ** (power / 2)


def _window(name: str, length: int) -> Tensor:
    from scipy.signal import get_window

    return torch.from_numpy(get_window(name, length, fftbins=True)).float()
