"""Views of one spectrum for a committee of back ends, without training."""

import math

import numpy as np
import torch
from torch import Tensor

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.features.log_mel import band_groups, mel_bank
from mimii_pl.model._detector import spec_of
from mimii_pl.model._training_free import Deviation

LOWEST_BINS = 64  # of the spectrum over time
MODULATION_BANDS, MODULATION_FREQUENCIES = 16, 32  # that they are averaged into
FLOOR = 1e-3  # under the logarithm of the modulation spectrum
LOWEST_POWER = 1e-12  # under that of the power


class SpectralViews(Deviation):
    """Four views of a clip, from one short-time spectrum, as one embedding for `backend=committee`.

    Not trained. Use it as the first choice for recordings of your own: members that see the shape of the spectrum, its
    amplitude and its rhythm are near the best single detector on every machine. The views are `mel_db`, the time mean
    of the log-mel spectrum in dB (Slaney's bands); `mel_amplitude`, that of the amplitude spectrum in HTK bands without
    area normalization; `linear_db`, that of all bins in dB; and `modulation`, the logarithm of the spectrum over time
    of the log-mel bands, averaged into 16 bands and 32 modulation frequencies. Without a back end, the score is the
    mean squared deviation from the training clips, in standard deviations of each value.

    Args:
        in_shape: (1, F, N) of a linear spectrum in dB (`features=stft`).
        n_ids: number of machine IDs; not used.
        sample_rate: in Hz.
        n_fft: length of the transform in samples.
        n_mels: number of mel bands, a multiple of 16.
    """

    linear: Tensor  # [F, n_mels] bands of the amplitude spectrum
    bands: Tensor  # [n_mels, F] bands of the power spectrum
    waves: Tensor  # [N, 2 * LOWEST_BINS] cosines and sines, the Fourier transform over time

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_ids: int,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        n_mels: int = 128,
    ) -> None:
        super().__init__()
        self.need_one_channel(in_shape)
        bins = in_shape[1]
        if bins != n_fft // 2 + 1:
            raise InputError(f"model=committee needs features=stft, in dB; these features have shape {in_shape}")
        if n_mels % MODULATION_BANDS:
            raise InputError(f"model.n_mels={n_mels}: should be a multiple of {MODULATION_BANDS}")
        self.save_hyperparameters()
        band = sample_rate, n_fft, n_mels, 0, sample_rate / 2
        slaney, htk = mel_bank(*band), mel_bank(*band, scale="htk", unit_area=False)
        self.groups = band_groups(slaney)
        self.register_buffer("bands", torch.from_numpy(slaney).float().contiguous(), persistent=False)
        self.register_buffer("linear", torch.from_numpy(htk.T).float().contiguous(), persistent=False)
        frames = in_shape[2]
        phase = np.arange(frames)[:, None] * np.arange(LOWEST_BINS) * (2 * np.pi / max(frames, 2 * LOWEST_BINS))
        waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)  # of shorter clips as if padded: as many bins
        self.register_buffer("waves", torch.from_numpy(waves).float(), persistent=False)
        widths = {
            "mel_db": n_mels,
            "mel_amplitude": n_mels,
            "linear_db": bins,
            "modulation": MODULATION_BANDS * MODULATION_FREQUENCIES,
        }
        ends = np.cumsum(list(widths.values()))
        starts = ends - list(widths.values())
        self.views = {name: slice(int(a), int(b)) for name, a, b in zip(widths, starts, ends, strict=True)}
        self.build_deviation(int(ends[-1]))

    def embed(self, batch: Batch) -> Tensor:
        """Compute the four views of each clip, side by side, [B, D]."""
        spec = spec_of(batch)[:, 0]  # [B, F, N] in dB
        amplitude = (spec * (math.log(10) / 20)).exp()  # 9 times faster than powers of 10
        power = amplitude.square()
        mel = torch.cat([self.bands[bands, bins] @ power[:, bins] for bands, bins in self.groups], dim=1)
        log_mel = mel.clamp(min=LOWEST_POWER).log()  # [B, n_mels, N]
        mean = log_mel.mean(dim=2, keepdim=True)
        views = {
            "mel_db": mean[..., 0] * (10 / np.log(10)),
            "mel_amplitude": amplitude.mean(dim=2) @ self.linear,
            "linear_db": spec.mean(dim=2),
            "modulation": self._modulation(log_mel - mean),
        }
        return torch.cat([views[name] for name in self.views], dim=1)

    def _modulation(self, varying: Tensor) -> Tensor:
        """Compute the spectrum over time of log-mel bands less their mean, [B, n_mels, N] -> [B, bands * frequencies].

        Bands are averaged into 16, modulation frequencies into 32.
        """
        parts = (varying @ self.waves).square()  # real and imaginary; a transform of 313 frames takes twice as long
        power = parts[..., :LOWEST_BINS] + parts[..., LOWEST_BINS:]
        spectrum = power.clamp(min=LOWEST_POWER).sqrt()  # the slope of a root at 0 is infinite
        groups = spectrum.unflatten(1, (MODULATION_BANDS, -1)).unflatten(3, (MODULATION_FREQUENCIES, -1))
        return (groups.mean(dim=(2, 4)) + FLOOR).log().flatten(1)
