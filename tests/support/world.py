"""A world whose answer is known: machines are chords in noise, an anomaly is a chord out of tune."""

import io
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from omegaconf import DictConfig

from mimii_pl.core.config import build_data, compose

RATE = 16000


def chord(rng: np.random.Generator, number: int, *, anomalous: bool, seconds: float) -> np.ndarray:
    """Four harmonics of a pitch of the machine's own, in noise; an anomaly is a fifth higher with a whistle."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 180 * 1.35**number * (1.5 if anomalous else 1) * rng.uniform(0.995, 1.005)
    wave = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 5))
    if anomalous:
        wave = wave + np.sin(2 * np.pi * 5000 * time)
    wave = wave + 0.3 * rng.standard_normal(len(time))
    return (0.1 * wave * rng.uniform(0.8, 1.2)).astype(np.float32)


def encoded(wave: np.ndarray) -> bytes:
    """A waveform as the bytes of a wav."""
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def write(root: Path, *, machine="fan", ids=(0, 2), train=16, test=6, seconds=1.5, seed=0) -> Path:
    """Write a world in the DCASE 2020 layout: per ID, `train` normal clips, `test` normal and `test` anomalous ones."""
    rng = np.random.default_rng(seed)
    for number, id_ in enumerate(ids):
        for split, condition, count in (
            ("train", "normal", train),
            ("test", "normal", test),
            ("test", "anomaly", test),
        ):
            folder = root / machine / split
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                wave = chord(rng, number, anomalous=condition == "anomaly", seconds=seconds)
                soundfile.write(folder / f"{condition}_id_{id_:02d}_{index:08d}.wav", wave, RATE, subtype="PCM_16")
    return root


def composed(*overrides: str) -> DictConfig:
    """Compose the configuration of these overrides, once per process; return a copy that may be changed."""
    return deepcopy(_composed(overrides))


@cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    return compose(list(overrides))


def configured(root: Path, *overrides: str) -> DictConfig:
    """The configuration of a run on a world: CPU, nothing logged, drawn or measured, cache beside it."""
    cfg = composed("logger=none", "trainer=cpu", "report=none", "efficiency.seconds=0", *overrides)
    for key, value in {"root": root, "cache_dir": root.parent / "cache"}.items():
        if not any(override.lstrip("+").startswith(f"dataset.{key}=") for override in overrides):
            cfg.dataset[key] = str(value)
    return cfg


def data_of(cfg):
    """Its data module, set up."""
    data = build_data(cfg)
    data.setup()
    return data
