"""Sampling frequency and windows as people give them: `native`, `64ms`, `15.625Hz`; a run works with numbers."""

import logging
import re
from typing import Any

from omegaconf import DictConfig

from mimii_pl.core.check import check
from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError

log = logging.getLogger(__name__)
NATIVE = "native"  # dataset.sample_rate: that of most recordings
STAND_IN = 16000  # Hz, while recordings are looked for
LENGTHS = ("n_fft", "hop")  # features in samples, which may have a unit


def resolve_units(cfg: DictConfig) -> DictConfig:
    """Return a configuration with numbers: the native sampling frequency in Hz, windows and hops in samples.

    `n_fft=64ms` lasts 64 ms, to the next even number of samples, and `n_fft=15.625Hz` has bins of that width;
    `hop=32ms` and `hop=31.25Hz` give as many frames per second. What follows these options follows their numbers.

    Raises:
        InputError: a length of another unit, a wrong option, or no recording whose header can be read.
    """
    cfg = cfg.copy()
    given = {name: cfg.features.get(name) for name in LENGTHS} if cfg.get("features") else {}
    if cfg.dataset.sample_rate != NATIVE:
        _in_samples(cfg, given)
        return cfg
    cfg.dataset.sample_rate = STAND_IN
    _in_samples(cfg, given)
    check(cfg)
    data = build(cfg.dataset, machine=cfg.machine.name, protocol=None, features=None)
    cfg.dataset.sample_rate = data.native_rate()
    _in_samples(cfg, given)
    if isinstance(given.get("n_fft"), int):
        rate, n_fft = cfg.dataset.sample_rate, given["n_fft"]
        text = "dataset.sample_rate=native: %d Hz, where features.n_fft=%d lasts %.3g ms; features.n_fft=64ms sets it"
        log.info(text, rate, n_fft, 1000 * n_fft / rate)
    return cfg


def _in_samples(cfg: DictConfig, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if isinstance(value, str):
            cfg.features[name] = samples_of(value, cfg.dataset.sample_rate, f"features.{name}", even=name == "n_fft")


def samples_of(text: str, rate: int, option: str, *, even: bool = False) -> int:
    """Convert a length, `64ms`, or a number per second, `15.625Hz`, to samples at a rate in Hz.

    Args:
        option: its name, for the message.
        even: round to an even number.

    Raises:
        InputError: it is neither.

    >>> [samples_of(text, 51200, "features.n_fft", even=True) for text in ("64ms", "15.625Hz", "0.5 ms")]
    [3276, 3276, 26]
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|hz)", text.strip().lower())
    if not match or not (value := float(match[1])):
        raise InputError(f"{option}={text}: should be a number of samples, or a length such as 64ms, or 15.6Hz")
    samples = value / 1000 * rate if match[2] == "ms" else rate / value
    step = 2 if even else 1
    return max(step, step * round(samples / step))
