"""Look at and listen to clips of a split before training: as a page, or in a notebook."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from omegaconf import DictConfig

from mimii_pl.core.config import build_data, compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable, write_text
from mimii_pl.core.units import resolve_units
from mimii_pl.report.clips import speed_words
from mimii_pl.report.figures import Image
from mimii_pl.report.levels import mel_levels
from mimii_pl.report.members import Bar, member_bars
from mimii_pl.report.sounds import gain_of, sound
from mimii_pl.report.spectrograms import spectrogram
from mimii_pl.report.template import template

if TYPE_CHECKING:
    from mimii_pl.dataset._datamodule import MachineSounds
    from mimii_pl.scoring.base_scorer import BaseScorer

LISTEN_SPLITS = ("train", "validation", "test")


class ListenClip(NamedTuple):
    """A clip on the page."""

    name: str
    picture: Image
    sound: str
    words: str
    members: list[Bar]


class Listening:
    """A page with clips, which a notebook shows in a frame.

    Args:
        page: HTML.
    """

    def __init__(self, page: str) -> None:
        self.page = page

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.page)}" style="width: 100%; height: 40rem; border: 0"></iframe>'


def listen(cfg: DictConfig | Sequence[str]) -> Listening:
    """Make a page with spectrograms and sounds of the first clips of a split, per machine ID and condition.

    With `cfg.run`, a finished run whose score is the mean of several members, each clip has the score of each member.

    Args:
        cfg: a composed configuration (`conf/command/listen.yaml`), or, in a notebook, only overrides: then no file is
            written.

    Returns:
        The page, which is also written to `cfg.output` unless that is null.

    Raises:
        InputError: there is no such split, or it has no clips; the run has no members, or does not know a machine ID.
    """
    if not isinstance(cfg, DictConfig):
        cfg = compose([*cfg, "output=null"], "command/listen")
    if cfg.split not in LISTEN_SPLITS:
        raise InputError(f"split={cfg.split}: no such split. Use one of: {', '.join(LISTEN_SPLITS)}")
    if cfg.output is not None:
        require_writable(Path(cfg.output).parent, "output=<another file>", [Path(cfg.output).name])
    scorer = _scorer_of(cfg)
    cfg = resolve_units(cfg)
    data = build_data(cfg)
    data.prepare_data()
    data.setup()
    groups: dict[str, list[int]] = {}
    for row, clip in enumerate(data.clips):
        if clip.split == cfg.split:
            groups.setdefault(f"{clip.machine} {clip.machine_id}, {clip.condition or 'not labelled'}", []).append(row)
    if not groups:
        raise InputError(
            f"split={cfg.split}: {cfg.machine.name} has no clips in it under protocol={cfg.choices.protocol}"
        )
    chosen = {name: rows[: cfg.clips] for name, rows in sorted(groups.items())}
    bars = _bars(scorer, data, [row for rows in chosen.values() for row in rows])
    shown = [(name, _listen_clips(data, rows, cfg.seconds, bars)) for name, rows in chosen.items()]
    title = f"{cfg.machine.name}, {cfg.split} clips ({cfg.choices.dataset}, protocol {cfg.choices.protocol})"
    count = sum(len(rows) for rows in groups.values())
    caption = f"{sum(len(clips) for _, clips in shown)} of {count} clips; the same gain for all clips of a list."
    page = Listening(template("listen.html.j2").render(title=title, caption=caption, groups=shown))
    if cfg.output is not None:
        write_text(Path(cfg.output), page.page)
        print(f"{caption} Open {Path(cfg.output).resolve()}")
    return page


def _scorer_of(cfg: DictConfig) -> "BaseScorer | None":
    """Load the run that hears the clips, if one is given."""
    if cfg.run is None:
        return None
    from mimii_pl.scoring.load_run import load_run

    scorer = load_run(cfg.run, trust=cfg.trust)
    if not scorer.member_names:
        raise InputError(
            f"run={cfg.run}: its score is not the mean of several members, which takes backend=committee or "
            "backend.per_id=both, or `mimii fuse`. Without run= the page has no scores"
        )
    return scorer


def _bars(scorer: "BaseScorer | None", data: "MachineSounds", rows: Sequence[int]) -> dict[int, list[Bar]]:
    """Lay out the bars of clips by row, all on one scale; none without a run."""
    if scorer is None:
        return {}
    clips = [data.clips[row] for row in rows]
    scores = scorer.members([clip.name for clip in clips], machine_id=[clip.label for clip in clips])
    bars = member_bars(list(scores), np.stack(list(scores.values()), axis=1), scorer.member_weights)
    return dict(zip(rows, bars, strict=True))


def _listen_clips(
    data: "MachineSounds", rows: Sequence[int], seconds: float, bars: Mapping[int, list[Bar]]
) -> list[ListenClip]:
    waves = [np.asarray(data.waves[row]) for row in rows]
    gain = gain_of(waves)
    return [
        listen_clip(
            Path(data.clips[row].name).name,
            wave,
            data.sample_rate,
            gain,
            seconds,
            rpm=data.rpm_of(row),
            bars=bars.get(row, []),
        )
        for row, wave in zip(rows, waves, strict=True)
    ]


def listen_clip(
    name: str,
    wave: np.ndarray,
    rate: int,
    gain: float,
    seconds: float,
    *,
    words: str = "",
    rpm: float | None = None,
    bars: Sequence[Bar] = (),
) -> ListenClip:
    """Draw a clip and encode its sound.

    Args:
        wave: int16 [T] at `rate` in Hz.
        gain: see `gain_of`.
        seconds: length that can be played, at most.
        words: about the clip; empty: its speed, if it is known.
        rpm: speed of the shaft in revolutions per minute; None: unknown.
        bars: scores of members.
    """
    picture = spectrogram(mel_levels(wave, rate), alt=f"Spectrogram of {name}", rpm=rpm)
    played = sound(wave[: round(seconds * rate)], gain, rate)
    return ListenClip(name, picture, played, words or speed_words(rpm), list(bars))
