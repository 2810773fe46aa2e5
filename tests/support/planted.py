"""Recordings with one planted fault each, and a healthy machine around them."""

import os
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
SECONDS = 3.0
A_DAY = 1_700_000_000  # s, time of every file: none tells a session


def machine(
    rng: np.random.Generator, *, pitch: float = 190.0, anomalous: bool = False, tilt: float = 1.0
) -> np.ndarray:
    """Broadband noise that falls with frequency, under harmonics whose pitch wanders; full scale 1, RMS 0.05."""
    n = round(SECONDS * RATE)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hertz = np.linspace(0, RATE / 2, len(spectrum))
    noise = np.fft.irfft(spectrum / (1 + hertz / 800) ** (tilt / 2), n)
    noise /= noise.std()
    phase = (
        2
        * np.pi
        * np.cumsum(pitch * (1 + 0.02 * np.sin(2 * np.pi * 0.7 * np.arange(n) / RATE + rng.uniform(0, 6))))
        / RATE
    )
    tones = sum(np.sin(k * phase) / k for k in range(1, 5))
    wave = noise + 0.5 * tones
    if anomalous:
        wave = wave + np.sin(2 * np.pi * 3333 * np.arange(n) / RATE)
    return 0.05 * rng.uniform(0.9, 1.1) * wave / wave.std()


def write(path: Path, wave: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if subtype == "PCM_16":
        wave = np.rint(wave * 32768).clip(-32768, 32767).astype(np.int16)
    soundfile.write(path, wave, rate, subtype=subtype)
    os.utime(path, (A_DAY, A_DAY))
    return path


def healthy(
    root: Path, id_: str = "press1", *, normal: int = 14, anomaly: int = 6, seed: int = 0, **names: str
) -> Path:
    """Write the recordings of a machine ID without a fault; `normal_name` and `anomaly_name` begin their names."""
    rng = np.random.default_rng([seed, *id_.encode()])
    for condition, count in (("normal", normal), ("anomaly", anomaly)):
        for number in range(count):
            name = f"{names.get(f'{condition}_name', '')}{number:03d}.wav"
            write(root / id_ / condition / name, machine(rng, anomalous=condition == "anomaly"))
    return root


def plant(root: Path, kind: str) -> Path:
    """Add the recording, or the machine ID, with this fault; return its file, or the folder of the machine ID."""
    rng = np.random.default_rng(list(kind.encode()))
    wave, folder = machine(rng), root / "press1" / "normal"
    path = folder / f"{kind}.wav"
    middle = slice(len(wave) // 2, len(wave) // 2 + round(0.12 * RATE))
    time = np.arange(len(wave)) / RATE
    match kind:
        case "unreadable":
            write(path, wave)
            path.write_bytes(path.read_bytes()[:-1000])
        case "silence":
            write(path, 0 * wave)
        case "clipping":
            write(path, np.clip(2 * wave, -0.25, 0.25))  # below full scale
        case "dropouts":
            wave[middle] = 0
            write(path, wave)
        case "offset":
            write(path, wave + 0.06)
        case "level":
            write(path, 6 * wave)
        case "rate":
            write(path, wave[::1], 22050)
        case "bits":
            write(path, np.round(wave * 128) / 128)
        case "format":
            write(path, np.stack([wave, machine(rng)], axis=1))
        case "dead_channel":
            write(path, np.stack([0 * wave, wave], axis=1))
        case "same_channels":
            write(path, np.stack([wave, -wave], axis=1))
        case "band":
            spectrum = np.fft.rfft(wave)
            spectrum[round(len(spectrum) * 0.5) :] *= 1e-4
            write(path, np.fft.irfft(spectrum, len(wave)))
        case "hum":
            write(path, wave + 0.05 * sum(np.sin(2 * np.pi * 50 * k * time) for k in range(1, 4)))
        case "copy":
            path.write_bytes((folder / "003.wav").read_bytes())
        case "near_copy":
            original, _ = soundfile.read(folder / "004.wav")
            write(path, 0.6 * original[round(0.3 * RATE) :])
        case "duration":
            write(path, np.concatenate([machine(rng) for _ in range(3)]))
        case "unlike":
            write(path, machine(rng, pitch=777, tilt=-6))
        case "stopped":
            write(path, 0.004 * wave)
        case "few":
            healthy(root, "press2", normal=4, anomaly=0)
            return root / "press2"
        case "level_auc":
            healthy(root, "press3")
            for file in (root / "press3" / "anomaly").iterdir():
                write(file, 3 * soundfile.read(file)[0])
            return root / "press3"
        case "one_sided":
            healthy(root, "press4", normal_name="2024-03-01_", anomaly_name="2024-05-17_")
            return root / "press4"
        case "no_normal":
            healthy(root, "press5", normal=0)
            return root / "press5"
        case _:
            raise ValueError(kind)
    os.utime(path, (A_DAY, A_DAY))
    return path
