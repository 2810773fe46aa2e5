"""Page of recordings scored in full: score over time with the threshold, spectrogram, and events to click and hear."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np

from mimii_pl.core.files import write_text
from mimii_pl.core.foreign import printable
from mimii_pl.dataset._audio import UnreadableClip
from mimii_pl.dataset._channels import ALL_CHANNELS
from mimii_pl.dataset._stream import excerpt
from mimii_pl.report.figures import data_uri
from mimii_pl.report.sounds import gain_of, sound
from mimii_pl.report.template import template
from mimii_pl.scoring.base_scorer import BaseScorer
from mimii_pl.scoring.bulk.window_files import clock
from mimii_pl.scoring.overview import BandLevels
from mimii_pl.scoring.timeline import Event, Timeline

TRACK_WIDTH, LEFT = 924, 66  # of the drawing, in its own units, and of the axis beside it
SCORES, BETWEEN, BELOW = 170, 14, 150  # heights of the scores, of what is between, and of the spectrogram
RANGE_DB = 70  # that the spectrogram shows
HEARD = 12  # events of a recording with a card and sound: those with the highest scores
LISTED_EVENTS = 200  # of a recording on the page; events.csv has them all
LONGEST_SOUND = 10.0  # s
TICK_STEPS = (
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
    86400,
)  # s between ticks
LOGARITHMIC = 20  # ratio of the highest to the lowest score, all above 0, from which their axis is logarithmic
STANDS_OUT = 1.0  # dB that a band rises
TICKS = 8  # of the axis of time, at most


class Tick(NamedTuple):
    """A place on an axis, in units of the drawing, and what stands there."""

    at: float
    text: str


class ShownEvent(NamedTuple):
    """An event on the page; `words` say why there is no sound."""

    number: int
    left: float
    width: float
    times: str
    score: str
    band: str
    sound: str
    words: str


class Track(NamedTuple):
    """A recording on the page; places are in units of the drawing.

    Attributes:
        lines: points of the score, a line for each stretch that can be used.
        threshold: height of the threshold.
    """

    name: str
    caption: str
    lines: list[str]
    threshold: float
    threshold_words: str
    score_ticks: list[Tick]
    time_ticks: list[Tick]
    band_ticks: list[Tick]
    picture: str
    events: list[ShownEvent]
    cards: list[ShownEvent]
    more: int
    faults: list[tuple[str, str]]
    alt: str


def write_timelines(path: Path, scorer: BaseScorer, timelines: Sequence[tuple[str, Timeline]], more: int) -> None:
    """Write the page.

    Args:
        scorer: reads what is to be heard.
        timelines: (file, timeline) of each recording.
        more: recordings that are scored but not on the page.
    """
    tracks = [_track(scorer, Path(file), timeline) for file, timeline in timelines]
    sizes = {"width": TRACK_WIDTH, "left": LEFT, "scores": SCORES, "below": BELOW, "top": SCORES + BETWEEN}
    page = template("timeline.html.j2").render(title="Scores over time", tracks=tracks, more=more, size=sizes)
    write_text(path, page)


def _track(scorer: BaseScorer, path: Path, timeline: Timeline) -> Track:
    known = timeline.score[~np.isnan(timeline.score)]
    ends = min(known.min(), timeline.threshold), max(known.max(), timeline.threshold)
    scale = np.log if ends[0] > 0 and ends[1] > LOGARITHMIC * ends[0] else np.asarray
    low, high = (float(scale(end)) for end in ends)
    room = 0.05 * (high - low) or 0.5

    def height(score: float) -> float:
        return round(float(SCORES * (high + room - scale(score)) / (high - low + 2 * room)), 1)

    events = _events(scorer, path, timeline)
    ranked = sorted(range(len(events)), key=lambda place: -timeline.events[events[place].number].score)
    count = len(timeline.events)
    words = "no event" if not count else "1 event" if count == 1 else f"{count} events"
    above = f"{100 * timeline.above:.1f} % of {len(timeline.score)} windows above the threshold"
    caption = f"{clock(timeline.seconds)} long, {words}, {above}"
    if scale is np.log:
        caption += "; scores on a logarithmic axis"
    if timeline.machine_id:
        caption = f"{printable(timeline.machine_id)}: {caption}"
    faults = [(clock(timeline.start[number]), reason) for number, reason in sorted(timeline.faults.items())]
    return Track(
        printable(path.name),
        caption,
        [" ".join(points) for points in _lines(timeline, height)],
        height(timeline.threshold),
        f"threshold {timeline.threshold:.4g}",
        [Tick(height(value), f"{value:.3g}") for value in ends],
        _time_ticks(timeline.seconds),
        _band_ticks(timeline.levels),
        _picture(timeline.levels),
        events,
        [events[place] for place in ranked[:HEARD]],
        max(0, count - LISTED_EVENTS),
        faults[:LISTED_EVENTS],
        f"Score over time from {known.min():.4g} to {known.max():.4g}, {words}; below it the spectrogram.",
    )


def _place(timeline: Timeline, seconds: float) -> float:
    return round(float(LEFT + TRACK_WIDTH * seconds / timeline.seconds), 1)


def _lines(timeline: Timeline, height: Callable[[float], float]) -> list[list[str]]:
    """Return the points of the score at the middle of each window: of more windows than places, lowest and highest."""
    middle = (timeline.start + timeline.end) / 2
    lines: list[list[str]] = [[]]
    for part in np.array_split(np.arange(len(middle)), min(len(middle), TRACK_WIDTH)):
        scores = timeline.score[part]
        if np.isnan(scores).all():
            lines.append([])
            continue
        place = _place(timeline, middle[part].mean())
        lines[-1] += [f"{place},{height(value)}" for value in dict.fromkeys((np.nanmin(scores), np.nanmax(scores)))]
    return [line * (2 if len(line) == 1 else 1) for line in lines if line]


def _time_ticks(seconds: float) -> list[Tick]:
    step = next((step for step in TICK_STEPS if seconds / step <= TICKS), TICK_STEPS[-1])
    return [
        Tick(round(LEFT + TRACK_WIDTH * at / seconds, 1), clock(at).removesuffix(".0"))
        for at in np.arange(0, seconds, step)
    ]


def _band_ticks(levels: BandLevels) -> list[Tick]:
    rows = np.arange(len(levels.hertz)) / (len(levels.hertz) - 1)
    wanted = [hertz for hertz in (100, 500, 1000, 2000, 4000, 8000, 16000, 32000) if hertz <= levels.hertz[-1]]
    places = np.interp(wanted, levels.hertz, rows)
    return [
        Tick(round(SCORES + BETWEEN + BELOW * (1 - place), 1), f"{hertz / 1000:g} kHz")
        for hertz, place in zip(wanted, places, strict=True)
    ]


def _picture(levels: BandLevels) -> str:
    known = levels.level[~np.isnan(levels.level)]
    top = float(known.max()) if len(known) else 0.0
    content = BytesIO()
    look: dict[str, Any] = {"cmap": "magma", "vmin": top - RANGE_DB, "vmax": top, "origin": "lower", "format": "png"}
    matplotlib.image.imsave(content, levels.level, **look)
    return data_uri(content.getvalue(), "image/png")


def _events(scorer: BaseScorer, path: Path, timeline: Timeline) -> list[ShownEvent]:
    ranked = sorted(range(len(timeline.events)), key=lambda number: -timeline.events[number].score)
    seconds = min(scorer.seconds, LONGEST_SOUND)
    waves: dict[int, np.ndarray] = {}
    words: dict[int, str] = {}
    for number in ranked[:HEARD]:
        try:
            waves[number] = excerpt(
                path,
                timeline.events[number].peak,
                sample_rate=scorer.sample_rate,
                samples=round(seconds * scorer.sample_rate),
                channel="mean" if scorer.channel == ALL_CHANNELS else scorer.channel,
                full_scale=scorer.full_scale,
            )
        except (UnreadableClip, OSError) as reason:  # it may be on another machine
            words[number] = f"no sound: {reason}"
    gain = gain_of(list(waves.values()))
    shown = []
    for number in sorted(ranked[:LISTED_EVENTS]):
        event = timeline.events[number]
        left = _place(timeline, event.start)
        shown.append(
            ShownEvent(
                number,
                left,
                max(2.0, round(_place(timeline, event.end) - left, 1)),
                f"{clock(event.start)} to {clock(event.end)}",
                f"highest score {event.score:.4g} in the window from {clock(event.peak)} on",
                _band(event),
                sound(waves[number], gain, scorer.sample_rate) if number in waves else "",
                words.get(number, ""),
            )
        )
    return shown


def _band(event: Event) -> str:
    if event.rise_db != event.rise_db:
        return ""
    if event.rise_db < STANDS_OUT:
        return "no band rises above its median" + (", and all are quieter" if event.rise_db < -STANDS_OUT else "")
    low, high = (float(f"{hertz:.3g}") for hertz in (event.low_hz, event.high_hz))
    return f"rises most at {low:g} to {high:g} Hz: {event.rise_db:.0f} dB above its median"
