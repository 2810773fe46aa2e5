"""Synthetic machines, written as wavs in the DCASE 2020 layout, so that everything downstream is the same code."""

import os
import secrets
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable
from mimii_pl.dataset._archives import check_space
from mimii_pl.dataset._clip import Clip
from mimii_pl.dataset._synthetic_faults import break_down, kind
from mimii_pl.dataset._synthetic_machines import RATE, SOUNDS, UNITS, factory, vary
from mimii_pl.dataset.dcase import DCASE

PHYSICS = 1  # increase it when the same options would give other recordings
MEAN_LEVEL = 0.08  # root mean square of a clip, full scale 1
LEAST_ON_DISK = 4096  # bytes of the smallest file
SPREAD = 2.0  # dB, standard deviation of the clips' level, so that loudness alone reveals nothing


class Order(NamedTuple):
    """One clip to be made: its machine, split, condition and number."""

    machine: str
    id: int
    split: str
    condition: str
    number: int

    @property
    def name(self) -> str:
        """Path of the clip under the folder of its machine type."""
        return f"{self.split}/{self.condition}_id_{self.id:02d}_{self.number:08d}.wav"


class Synthetic(DCASE):
    """Fans, pumps, sliders and valves of four IDs each, rendered by physical models in `_synthetic_machines`.

    Missing recordings are written first, into a folder named by the options. Anomalies alternate between the faults of
    their machine type: unbalance, voltage change, clogging, contamination, leakage, rail damage, loose belt and so on.

    Calibrated at the defaults (seed 0): the Euclidean distance to the nearest normal training clip of the same ID, over
    mean and standard deviation in time of 64 log-mel bands, detects faults with an AUC (mean over IDs; at 6, 0, -6 dB)
    of fan .78 .67 .59, pump .85 .73 .61, slider .86 .82 .72, valve .80 .71 .61; a clip's level alone reaches .40 to .64
    (80 + 80 clips per type, about +-.05). Phase faults (one kind per type, `PHASE` in `_synthetic_faults`) change the
    mean spectrum of 64 ms frames by about 1 dB at most: at 6 dB the distance detects unbalance with .46, a loose belt
    with .62, a valve's voltage change with .49 and a pump's contamination with .80, the last by its steadier frames.

    Args:
        root: folder of the synthetic worlds, one folder for each set of options.
        snr_db: level of the machine over factory noise, in dB; MIMII has -6, 0 and 6.
        severity: of the faults; 0: no faults.
        train_clips: normal training clips per machine ID.
        test_clips: normal test clips per machine ID, and as many anomalous ones.
        clip_seconds: length of a clip in s.
        world_seed: of the recordings.
        official: see `DCASE`.
        **options: machine, protocol, features and the other options of `MachineSounds`.
    """

    def __init__(
        self,
        *,
        root: str,
        snr_db: float = 6.0,
        severity: float = 1.0,
        train_clips: int = 60,
        test_clips: int = 20,
        clip_seconds: float = 4.0,
        world_seed: int = 0,
        official: Literal["dcase2020", "dcase2021", "dcase2022"] = "dcase2020",
        **options: Any,
    ) -> None:
        if severity < 0 or world_seed < 0:
            raise InputError(f"dataset.severity={severity}, dataset.world_seed={world_seed}: must not be negative")
        self.world: dict[str, Any] = {
            "snr_db": snr_db,
            "severity": severity,
            "train_clips": train_clips,
            "test_clips": test_clips,
            "clip_seconds": clip_seconds,
            "world_seed": world_seed,
        }
        size = f"{train_clips}+{test_clips}x{clip_seconds:g}s"
        name = f"v{PHYSICS}_snr{snr_db:g}_severity{severity:g}_{size}_seed{world_seed}"
        super().__init__(root=str(Path(root) / name), official=official, **options)

    def prepare_data(self) -> None:
        """Write the missing recordings of the chosen machine types."""
        machines = list(UNITS) if self.machine == "all" else [self.machine]
        if unknown := set(machines) - set(UNITS):
            raise InputError(f"dataset=synthetic has no machine '{unknown.pop()}'; it has: {', '.join(UNITS)}, all")
        for machine in machines:
            if not (self.root / machine).is_dir():
                write_machine(self.root, machine, **self.world)
        super().prepare_data()

    def discover(self) -> list[Clip]:
        """Discover clips like DCASE 2020, with the kind of fault of anomalous clips as an attribute."""
        return [
            replace(clip, attributes={"kind": kind(clip.machine, int(clip.path.stem[-8:]))})
            if clip.condition == "anomaly" and clip.machine in UNITS
            else clip
            for clip in super().discover()
        ]


def write_machine(
    root: Path,
    machine: str,
    *,
    snr_db: float,
    severity: float,
    train_clips: int,
    test_clips: int,
    clip_seconds: float,
    world_seed: int,
    ids: Sequence[int] = (0, 2, 4, 6),
    workers: int | None = None,
) -> None:
    """Write one machine type to `<root>/<machine>`, atomically."""
    from rich.progress import track

    clips, size = len(ids) * (train_clips + 2 * test_clips), 2 * round(clip_seconds * RATE) + LEAST_ON_DISK
    require_writable(root.parent, "dataset.root=<another folder>")
    check_space(root.parent, clips * size, f"for {clips:,} synthetic clips")
    orders = [
        Order(machine, id_, split, condition, number)
        for id_ in ids
        for split, condition, count in (
            ("train", "normal", train_clips),
            ("test", "normal", test_clips),
            ("test", "anomaly", test_clips),
        )
        for number in range(count)
    ]
    partial = root.parent / f".{root.name}.{machine}.{secrets.token_hex(4)}"  # outside root, unseen by `discover`
    for split in ("train", "test"):
        (partial / split).mkdir(parents=True)

    def write(order: Order) -> None:
        import soundfile

        clip = render(order, round(clip_seconds * RATE), snr_db=snr_db, severity=severity, world_seed=world_seed)
        soundfile.write(partial / order.name, clip, RATE, subtype="PCM_16")

    try:
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            for _ in track(pool.map(write, orders), f"synthesizing {machine}", total=len(orders)):
                pass
        root.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(partial, root / machine)
        except OSError:
            if not (root / machine).is_dir():  # otherwise another process was faster, with the same bytes
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def render(order: Order, samples: int, *, snr_db: float, severity: float, world_seed: int) -> np.ndarray:
    """Render one clip, float [samples] in full scale 1; equal orders and options give equal clips."""
    machine, background, level = parts(order, samples, severity=severity, world_seed=world_seed)
    mixed = machine + background * 10 ** (-snr_db / 20)
    return np.clip(level * mixed / _rms(mixed), -1, 1)


def parts(order: Order, samples: int, *, severity: float, world_seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Render machine and factory noise of one clip, both of power 1, and draw the clip's level."""
    part = {("train", "normal"): 0, ("test", "normal"): 1, ("test", "anomaly"): 2}[order.split, order.condition]
    rng = np.random.default_rng([world_seed, list(SOUNDS).index(order.machine), order.id, part, order.number])
    unit = vary(UNITS[order.machine][order.id], rng)
    if order.condition == "anomaly" and severity > 0:
        unit = break_down(order.machine, unit, severity, order.number, rng)
    machine, background = SOUNDS[order.machine](unit, samples, rng), factory(samples, rng)
    return (
        machine / _rms(machine),
        background / _rms(background),
        MEAN_LEVEL * 10 ** (SPREAD * rng.standard_normal() / 20),
    )


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(wave))))
