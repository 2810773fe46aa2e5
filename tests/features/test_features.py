"""Representations against second implementations."""

from functools import cache

import librosa
import numpy as np
import pytest
import soundfile
import torch
from librosa.core.spectrum import stft
from support import world
from support.spectra import librosa_mel

from mimii_pl.core.config import CONF, build
from mimii_pl.core.errors import InputError

NAMES = sorted(file.stem for file in CONF.joinpath("features").glob("[!_]*.yaml"))


@cache
def composed(name):
    return world.composed(f"features={name}", "model=dense_ae").features


def make(name, **options):
    return build(composed(name), **options)


@pytest.fixture(params=["noise", "real"])
def wave(request):
    if request.param == "noise":
        return 0.1 * np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    folder = request.getfixturevalue("shared") / "real" / "dcase2020" / "slider" / "train"
    return soundfile.read(folder / "normal_id_00_00000000.flac", dtype="float32")[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"n_fft": 512, "hop": 128, "window": "hamming"}])
def test_engines_agree(name, options, wave):
    wave = torch.from_numpy(wave)[None]
    fft, convolution = (make(name, engine=engine, **options)(wave) for engine in ("torch", "nnaudio"))
    loud = fft > fft.max() - 70 if name != "complex_stft" else fft.abs() >= 0  # dB: nothing is left of float32 below
    assert (fft - convolution)[loud].abs().max() <= 1e-4 * fft.abs().max()


@pytest.mark.parametrize("n_mels", [64, 128])
def test_log_mel_is_librosas(wave, n_mels):
    mel = librosa_mel(wave, 16000, n_fft=1024, hop=512, n_mels=n_mels)
    spec = make("log_mel", n_mels=n_mels)(torch.from_numpy(wave)[None])[0, 0].numpy()
    np.testing.assert_allclose(spec, 10 * np.log10(mel), atol=1e-4)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_log_mel_of_either_power_is_librosas(wave, power):
    mel = librosa_mel(wave, 16000, n_fft=1024, hop=512, power=power)
    spec = make("log_mel", power=power)(torch.from_numpy(wave)[None])[0, 0].numpy()
    np.testing.assert_allclose(spec, 20 / power * np.log10(mel), atol=2e-4)


@pytest.mark.parametrize(("f_min", "f_max", "rate"), [(0, 8000, 16000), (300, 7000, 16000), (20, 20000, 44100)])
def test_mel_filters_are_librosas(f_min, f_max, rate):
    from mimii_pl.features.log_mel import mel_bank

    expected = librosa.filters.mel(sr=rate, n_fft=2048, n_mels=96, fmin=f_min, fmax=f_max)
    np.testing.assert_allclose(mel_bank(rate, 2048, 96, f_min, f_max), expected, atol=1e-7)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", "none"])
def test_mel_filters_of_every_kind_are_librosas_and_torchaudios(scale, norm):
    from torchaudio.functional import melscale_fbanks

    from mimii_pl.features.log_mel import mel_bank

    bank = mel_bank(16000, 1024, 64, 50, 7500, scale=scale, unit_area=norm == "slaney")
    kinds = {"htk": scale == "htk", "norm": norm if norm == "slaney" else None}
    expected = librosa.filters.mel(sr=16000, n_fft=1024, n_mels=64, fmin=50, fmax=7500, dtype=np.float64, **kinds)
    np.testing.assert_allclose(bank, expected, atol=1e-9)
    second = melscale_fbanks(513, 50, 7500, 64, 16000, norm=kinds["norm"], mel_scale=scale).T.numpy()
    np.testing.assert_allclose(bank, second, atol=1e-4 * bank.max())


def test_zeros_or_a_reflection_stand_beyond_the_ends(wave):
    for padding, mode in (("reflect", "reflect"), ("zeros", "constant")):
        expected = stft(wave, n_fft=1024, hop_length=512, pad_mode=mode)
        spec = make("complex_stft", padding=padding)(torch.from_numpy(wave)[None])[0]
        np.testing.assert_allclose(torch.complex(*spec).numpy(), expected, atol=1e-4 * np.abs(expected).max())


def test_spectra_are_librosas(wave):
    expected = stft(wave, n_fft=1024, hop_length=512, pad_mode="reflect")
    wave = torch.from_numpy(wave)[None]
    complex_ = make("complex_stft")(wave)[0]
    np.testing.assert_allclose(torch.complex(*complex_).numpy(), expected, atol=1e-4 * np.abs(expected).max())
    decibel = make("stft")(wave)[0, 0].numpy()
    loud = np.abs(expected) > 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(decibel[loud], 20 * np.log10(np.abs(expected[loud])), atol=0.01)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("normalize", ["none", "clip"])
def test_a_clip_alone_is_as_in_a_batch(name, normalize):
    features = make(name, normalize=normalize)
    waves = 0.1 * torch.randn(40, 20_000)
    batch = features(waves)
    assert batch.shape[1:] == features.shape(20_000)
    for row in (0, 17, 39):
        torch.testing.assert_close(features(waves[row : row + 1])[0], batch[row], rtol=1e-4, atol=1e-4)


def test_per_clip_normalisation():
    spec = make("complex_stft", normalize="clip")(0.1 * torch.randn(3, 20_000))
    torch.testing.assert_close(spec.mean(dim=(2, 3)), torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(spec.std(dim=(2, 3)), torch.ones(3, 2), atol=1e-3, rtol=0)


def test_training_set_normalisation_needs_a_training_set():
    with pytest.raises(RuntimeError, match="call fit first"):
        make("log_mel", normalize="train")(torch.randn(1, 20_000))


def test_too_short_a_clip_is_explained():
    with pytest.raises(InputError, match=r"400 samples is too short for a transform of features\.n_fft=1024"):
        make("log_mel")(torch.randn(1, 400))


@pytest.mark.parametrize("window", ["hamming", "blackman"])
def test_windows_are_librosas(window):
    wave = 0.1 * np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    expected = stft(wave, n_fft=1024, hop_length=256, window=window, pad_mode="reflect")
    spec = make("complex_stft", hop=256, window=window)(torch.from_numpy(wave)[None])[0]
    np.testing.assert_allclose(torch.complex(*spec).numpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_decibels_do_not_depend_on_the_power():
    wave = 0.1 * torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0))
    one, two = (make("stft", power=power)(wave) for power in (1.0, 2.0))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-3)
    silent = torch.zeros(1, 20_000)
    assert make("stft", power=1.0)(silent).unique().tolist() == pytest.approx([-240])
    assert make("stft", power=2.0)(silent).unique().tolist() == pytest.approx([-120])


@pytest.mark.parametrize("name", NAMES)
def test_shape_is_known_before_anything_is_computed(name):
    features = make(name, n_fft=512, hop=160)
    for samples in (257, 3199, 3200, 3201):
        assert features(torch.randn(2, samples)).shape[1:] == features.shape(samples)


def test_a_clip_longer_than_a_chunk_is_transformed_whole():
    wave = 0.1 * torch.randn(2, 700_000, generator=torch.Generator().manual_seed(0))
    features = make("stft", hop=4096)
    whole = features(wave)
    assert whole.shape == (2, *features.shape(700_000))
    torch.testing.assert_close(features(wave[1:])[0], whole[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_silent_clip_stays_finite(name):
    assert make(name, normalize="clip")(torch.zeros(1, 20_000)).isfinite().all()


def test_training_set_normalisation_does_not_depend_on_the_parts_it_was_fitted_on():
    specs = make("log_mel").transform(0.1 * torch.randn(12, 8000, generator=torch.Generator().manual_seed(0)))
    fitted = []
    for size in (1, 5, 12):
        features = make("log_mel", normalize="train")
        features.fit(iter(specs.split(size)))
        fitted.append(features.fitted)
    for one in fitted:
        torch.testing.assert_close(one.mean, specs.mean(dim=(0, 3), keepdim=True), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.std, specs.std(dim=(0, 3), keepdim=True, correction=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"f_max": 8001.0},
        {"f_max": 0.0},
        {"f_min": -1.0},
        {"f_min": 4000.0, "f_max": 4000.0},
        {"f_min": 600.0, "sample_rate": 1000},
        {"f_max": 8000.0, "sample_rate": 8000},
    ],
)
def test_bands_outside_the_spectrum_are_refused(options):
    with pytest.raises(InputError, match=r"features.f_min=.* features.f_max=.*half of dataset.sample_rate"):
        make("log_mel", **options).validate()


@pytest.mark.parametrize(
    "options", [{}, {"f_max": 8000.0}, {"sample_rate": 1000}, {"sample_rate": 51200, "n_mels": 40}]
)
def test_bands_within_it_are_taken_in_silence(options, caplog):
    make("log_mel", **options).validate()
    assert not caplog.text


@pytest.mark.parametrize("options", [{"sample_rate": 192_000}, {"n_fft": 64}, {"sample_rate": 1000, "n_fft": 128}])
def test_bands_without_a_bin_are_counted_and_named(options, caplog):
    features = make("log_mel", **options)
    features.validate()
    level = features(0.1 * torch.randn(1, 20_000))[0, 0]
    empty = int((level == level.min()).all(dim=1).sum())
    assert 0 < empty < features.n_mels
    assert f"features.n_mels={features.n_mels}: {empty} bands" in caplog.text


def test_the_phase_can_be_left_out():
    wave = 0.1 * torch.randn(2, 20_000)
    whole, magnitude = (make("complex_stft", phase=phase)(wave) for phase in (True, False))
    torch.testing.assert_close(magnitude[:, 0], whole.square().sum(dim=1).sqrt(), rtol=1e-5, atol=1e-6)
    assert (magnitude[:, 1] == 0).all()
    assert torch.isfinite(make("complex_stft", phase=False, normalize="clip")(wave)).all()
