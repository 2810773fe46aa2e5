"""Score uploaded recordings with the model in use, which another may replace at any time."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._audio import UNKNOWN, UnreadableClip, opened
from mimii_pl.deploy.serving.batches import Batches, WindowOf
from mimii_pl.deploy.serving.figures import Figures
from mimii_pl.deploy.serving.limits import MOST_CHANNELS, Refused, RequestLimits
from mimii_pl.deploy.serving.served import Served
from mimii_pl.scoring.timeline import Timeline, TimelineBuilder

log = logging.getLogger(__name__)
ANSWER_DIGITS = 6  # of scores and times in answers, after the point


class Service:
    """Scores recordings.

    A request keeps the model that it began with, so that none is lost when another takes its place.

    Args:
        served: the first model.
        limits: of recordings.
    """

    def __init__(self, served: Served, limits: RequestLimits) -> None:
        self.limits, self.figures = limits, Figures()
        self._scoring = ThreadPoolExecutor(1, "scoring")
        self._decoding = ThreadPoolExecutor(os.cpu_count(), "decoding")
        self._use(served)

    def _use(self, served: Served) -> None:
        batches = Batches(served.scorer, served.batch, self._scoring, self.figures.batches.observe)
        self.served, self._batches = served, batches
        self.figures.use(served)

    async def score(self, path: Path, machine_id: str | None, *, explain: bool = False) -> dict[str, Any]:
        """Score a recording in full.

        Args:
            path: of a file of ours.
            machine_id: that it is compared with.
            explain: whether the scores of all windows and a spectrogram are wanted.

        Returns:
            What is answered of it.

        Raises:
            Refused: it cannot be used, is too long, or its machine ID is unknown.
        """
        served, batches = self.served, self._batches
        try:
            number = served.id_number(machine_id)
            label = served.scorer.labels[number] if number >= 0 else ""
            await self._in_thread(self._check, path)
            builder = TimelineBuilder(served.scorer, served.windows, label)
            found = served.read(path, builder)
            try:
                while windows := await self._in_thread(self._next, found, builder, served.batch):
                    await batches.score(windows, number)
            finally:
                with suppress(ValueError):  # a cancelled request: its thread still reads
                    found.close()  # type: ignore[attr-defined]  # it is a generator
            timeline = await self._in_thread(builder.finish)
        except (InputError, UnreadableClip) as reason:
            self.figures.recordings.labels("unusable").inc()
            raise Refused(422, str(reason)) from None
        except Refused:
            self.figures.recordings.labels("unusable").inc()
            raise
        answer = _answer(served, timeline, number)
        self.figures.recordings.labels("anomalous" if answer["anomalous"] else "normal").inc()
        return answer | (_explanation(timeline) if explain else {})

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._decoding, function, *args)

    def _check(self, path: Path) -> None:
        """Raise Refused for a recording whose header tells more than allowed."""
        with opened(path) as file:
            frames, rate, channels = file.frames, file.samplerate, file.channels
        if self.limits.seconds * rate < frames < UNKNOWN:
            raise self.limits.refuse_length()
        if channels > MOST_CHANNELS:
            raise Refused(422, f"it has {channels} channels, more than {MOST_CHANNELS}", "channels", MOST_CHANNELS)

    def _next(self, found: Iterator[tuple[int, np.ndarray]], builder: TimelineBuilder, size: int) -> list[WindowOf]:
        """Read the next windows of a recording, whose header may not have told its length."""
        windows = [(builder, *window) for window in islice(found, size)]
        if builder.starts and builder.starts[-1] > self.limits.seconds:
            raise self.limits.refuse_length()
        return windows

    def swap(self, served: Served) -> None:
        """Put a model in the place of the one in use; requests that have begun keep theirs."""
        before = self.served
        self._use(served)
        self.figures.swaps.inc()
        log.warning("%s: %s takes the place of %s", served.name, served.fingerprint, before.fingerprint)

    def close(self) -> None:
        """End the threads, after the last request."""
        self._decoding.shutdown()
        self._scoring.shutdown()


async def watch(service: Service, newest: Callable[[Path], Served | None], every: float) -> None:
    """Look for another model every so many s, and swap it in.

    Args:
        newest: called in a thread with the folder in use; returns another model, or None.
    """
    told = ""
    while True:
        await asyncio.sleep(every)
        try:
            served = await asyncio.to_thread(newest, service.served.place)
        except Exception as error:  # whatever it is, the model in use serves on
            service.figures.failed_watches.inc()
            if str(error) != told:
                log.warning("the model stays: %s", error, exc_info=not isinstance(error, InputError))
            told = str(error)
            continue
        told = ""
        if served is not None:
            service.swap(served)


def _answer(served: Served, timeline: Timeline, number: int) -> dict[str, Any]:
    """Return what is answered of a recording: that of its window with the highest score."""
    thresholds = served.scorer.thresholds
    assert thresholds is not None
    score = np.array([timeline.maximum])
    ids = np.array([number])
    return {
        "machine_id": timeline.machine_id or None,
        "seconds": round(timeline.seconds, ANSWER_DIGITS),
        "score": timeline.maximum,
        "higher_than": float(thresholds.rank(score, ids)[0]),
        "p_value": float(thresholds.p_value(score, ids)[0]),
        "anomalous": bool(timeline.anomalous.any()),
        "threshold": timeline.threshold,
        "windows": len(timeline.score),
        "unusable_windows": [
            {"start": round(float(timeline.start[at]), ANSWER_DIGITS), "reason": reason}
            for at, reason in sorted(timeline.faults.items())
        ],
        "events": [{name: _number(value) for name, value in event._asdict().items()} for event in timeline.events],
    }


def _explanation(timeline: Timeline) -> dict[str, Any]:
    """Return the scores of all windows, and the spectrogram, in whole dB."""
    levels = timeline.levels
    return {
        "timeline": {
            name: [_number(value) for value in getattr(timeline, name).tolist()]
            for name in ("start", "end", "score", "higher_than", "anomalous")
        },
        "spectrogram": {
            "hertz": levels.hertz.round(1).tolist(),
            "seconds": levels.seconds,
            "db": [[None if value != value else round(value) for value in row] for row in levels.level.tolist()],
        },
    }


def _number(value: float) -> float | None:
    """Return a number as JSON has it: NaN is none."""
    return None if value != value else value
