"""Clips of a split to see and to hear, before anything is trained: a page, or an object that a notebook shows."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from omegaconf import DictConfig

from mimii_pl import _config, _run_dir
from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.errors import InputError
from mimii_pl.report._clips import gain_of, sound, spectrogram
from mimii_pl.report._figures import Image
from mimii_pl.report._template import template

if TYPE_CHECKING:
    from mimii_pl.dataset._datamodule import MachineSounds

SPLITS = ("train", "validation", "test")


class Heard(NamedTuple):
    """A clip on the page."""

    name: str
    picture: Image
    sound: str


class Listening:
    """A page with clips; a notebook shows it in a frame.

    Args:
        page: html.
    """

    def __init__(self, page: str) -> None:
        self.page = page

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.page)}" style="width: 100%; height: 40rem; border: 0"></iframe>'


def listen(cfg: DictConfig | Sequence[str]) -> Listening:
    """Pictures and sounds of the first clips of a split, per machine ID and condition.

    Args:
        cfg: a composed configuration (`conf/listen.yaml`), or, in a notebook, overrides alone: no file is made.

    Returns:
        The page, which is also written to `cfg.output` unless that is null.
    """
    if not isinstance(cfg, DictConfig):
        cfg = _config.compose([*cfg, "output=null"], "listen")
    if cfg.split not in SPLITS:
        raise InputError(f"split={cfg.split}: no such split. split is one of: {', '.join(SPLITS)}")
    sounds = _config.build_sounds(cfg)
    sounds.prepare_data()
    sounds.setup()
    groups: dict[str, list[int]] = {}
    for row, clip in enumerate(sounds.clips):
        if clip.split == cfg.split:
            groups.setdefault(f"{clip.machine} {clip.machine_id}, {clip.condition or 'not labelled'}", []).append(row)
    if not groups:
        raise InputError(
            f"split={cfg.split}: {cfg.machine.name} has no clip there under protocol={cfg.choices.protocol}"
        )
    shown = [(name, _heard(sounds, rows[: cfg.clips], cfg.seconds)) for name, rows in sorted(groups.items())]
    title = f"{cfg.machine.name}, {cfg.split} clips ({cfg.choices.dataset}, protocol {cfg.choices.protocol})"
    count = sum(len(rows) for rows in groups.values())
    caption = f"{sum(len(clips) for _, clips in shown)} of {count} clips; one gain for all clips of a list."
    page = Listening(template("listen.html.j2").render(title=title, caption=caption, groups=shown))
    if cfg.output is not None:
        _run_dir.write_text(Path(cfg.output), page.page)
        print(f"{caption} Open {Path(cfg.output).resolve()}")
    return page


def _heard(sounds: "MachineSounds", rows: Sequence[int], seconds: float) -> list[Heard]:
    waves = [np.asarray(sounds.waves[row]) for row in rows]
    gain, length = gain_of(waves), round(seconds * sounds.sample_rate)
    return [
        Heard(
            clip.path.name,
            spectrogram(wave, sounds.sample_rate, alt=f"Spectrogram of {clip.path.name}"),
            sound(wave[:length] / FULL_SCALE * gain, sounds.sample_rate),
        )
        for clip, wave in zip((sounds.clips[row] for row in rows), waves, strict=True)
    ]
