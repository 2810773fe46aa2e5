"""One machine that is listened to: source -> ring -> windows -> states -> scores -> rule."""

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from mimii_pl.core.errors import InputError, one_line
from mimii_pl.dataset._audio import FULL_SCALE
from mimii_pl.live.cutter import CutWindow, WindowCutter
from mimii_pl.live.drift_watch import DriftWatch
from mimii_pl.live.events import EventStore
from mimii_pl.live.keeper import AlarmKeeper
from mimii_pl.live.model import LiveModel
from mimii_pl.live.position import position_name
from mimii_pl.live.source._source import FIRST_WAIT, LONGEST_WAIT, SoundSource, SourceLostError
from mimii_pl.live.states import SoundState, StateJudge
from mimii_pl.live.waiting import NO_CLIPS, UNKNOWN_LEVELS, WaitingWindow
from mimii_pl.live.windows import AlarmChange, AlarmLevel, Block, ScoredWindow, WindowState

log = logging.getLogger(__name__)
AROUND_EVENT = 10.0  # s of sound before and after the beginning of an event
MOST_WAITING = 16  # windows that wait for their score
SPAN = 16  # windows that a rule may look back
TELL_LOST = 60.0  # s between lines on samples that were lost
RECENT = 1000  # windows that are remembered
Listener = Callable[["Station", ScoredWindow, AlarmChange | None], None]


class StationSetup(NamedTuple):
    """Options of a station.

    Attributes:
        machine, machine_id: its names.
        id_number: of the machine ID in the model; -1: none is needed.
        hop: s from the start of a window to that of the next.
        state_rule, idle_level: as `StateJudge` has them.
    """

    machine: str
    machine_id: str
    id_number: int
    hop: float
    state_rule: str = "auto"
    idle_level: float | None = None


class Station:
    """A source, its windows, and what comes of them.

    A thread hears the source; whoever scores calls `take_waiting` and `finish`. What a page may show are attributes.

    Args:
        setup: its options.
        source: of the sound.
        model: that scores it.
        keeper: of its alarms.
        store: of its events, and of the position to go on from.
        work: set when a window waits.
        position: that the source goes on from, see `resume_position`.

    Attributes:
        recent: latest windows.
        meter: level of the latest sound in dB of full scale.
        counts: windows by their state.
        dropped: windows that were too late, and not scored.
        reconnects: times that the source was opened again.
        connected: whether the source delivers.
        ended: whether it has ended.
        error: that ended it: the user's, or None.
        health: latest lines on the source.
        events: that began.
        seconds: of sound that was heard.
        listeners: called with every window, in the thread that scores.
    """

    def __init__(
        self,
        setup: StationSetup,
        source: SoundSource,
        model: LiveModel,
        keeper: AlarmKeeper,
        store: EventStore,
        work: threading.Event,
        position: dict[str, Any],
    ) -> None:
        self.setup, self.source, self.model, self.keeper, self.store = setup, source, model, keeper, store
        self._position = position
        self._drift = self._drift_watch()
        self.recent: deque[ScoredWindow] = deque(maxlen=RECENT)
        self.health: deque[tuple[float, str]] = deque(maxlen=RECENT)
        self.counts: Counter[WindowState] = Counter()
        self.meter, self.seconds = math.nan, 0.0
        self.dropped = self.reconnects = self.events = self._lost = self._gaps = 0
        self.connected = self.ended = False
        self.error: InputError | None = None
        self.listeners: list[Listener] = []
        self._work, self._changed = work, threading.Condition()
        self._waiting: deque[WaitingWindow] = deque()
        self._cutter: WindowCutter | None = None
        self._judge: StateJudge | None = None
        self._form: tuple = ()
        self._heard, self._told_quiet = time.monotonic(), -math.inf
        self._late, self._untold, self._told_lost = False, 0, -math.inf
        self._state: WindowState | None = None
        self._pending = self._unfinished_sound()  # event, and the first and last sample of its sound
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=setup.machine, daemon=True)

    def _unfinished_sound(self) -> tuple[int, int, int] | None:
        """Return the newest event, if a process was killed before its sound was complete."""
        for event in self.store.events(machine=self.setup.machine, machine_id=self.setup.machine_id, limit=1):
            rate = (event.last - event.first) / max(1e-3, event.end - event.start)
            around = round(AROUND_EVENT * rate)
            if not event.sound and event.first + around > self._position.get("next", 0) - around:
                return event.id, event.first - around, event.first + around
        return None

    @property
    def state(self) -> WindowState | None:
        """State of the latest window; None before the first."""
        return self._state

    @property
    def level(self) -> AlarmLevel:
        """Level of alarm."""
        return self.keeper.rule.level

    @property
    def lost(self) -> int:
        """Samples that were lost."""
        return self._lost + (self._cutter.lost if self._cutter else 0)

    @property
    def gaps(self) -> int:
        """Times that samples were lost."""
        return self._gaps + (self._cutter.gaps if self._cutter else 0)

    @property
    def threshold(self) -> float:
        """Threshold of the model."""
        thresholds = self.model.served.scorer.thresholds
        assert thresholds is not None
        return thresholds.of(self.model.label(self.setup.id_number))

    def sound(self, seconds: float, since: int = 0) -> tuple[int, int, np.ndarray]:
        """Return rate, number of the first sample, and latest sound, int16 [C, T]; none before sample `since`."""
        with self._changed:
            if self._cutter is None:
                return 0, 0, np.empty((1, 0), np.int16)
            ring, rate = self._cutter.ring, self._cutter.rate
            return rate, *ring.read(max(since, ring.end - round(seconds * rate)), ring.end)

    # --- hearing: the thread of the source ---------------------------------------------------------------------------
    def start(self) -> None:
        """Begin to hear the source."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread of the source end."""
        self._stop.set()
        self.source.stop()
        with self._changed:
            self._changed.notify_all()

    def join(self, patience: float = 2.0) -> None:
        """Wait for the thread of the source; one that waits for the standard input ends with the process."""
        self._thread.join(patience)

    def _listen(self) -> None:
        pause, heard = FIRST_WAIT, False
        while not self._stop.is_set():
            try:
                self.source.open()
                for block in self.source.blocks(self._next_sample()):
                    if not self.connected:
                        self._tell(f"{self.source.name}: {'heard again' if self.reconnects else 'heard'}")
                        self.connected, pause = True, FIRST_WAIT
                    self._end_recording() if block is None else self._hear(block)
                    heard = True
                    if self._stop.is_set():
                        return
                self._end_recording()
                self.ended = True
                return
            except SourceLostError as reason:
                fault = one_line(reason)
            except InputError as error:
                if not heard:  # the user's mistake; later, a device that is gone
                    self.error, self.ended = error, True
                    return
                fault = one_line(error)
            except Exception as error:  # of a driver or a library: one station must not end the others
                log.exception("%s", self.source.name)
                fault = one_line(error)
            finally:
                self.source.close()
                self.connected = False
                self._work.set()
            if self._stop.is_set():
                return
            self.reconnects += 1
            self._tell(f"{self.source.name}: {fault}; opened again in {pause:g} s")
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_WAIT)

    def _next_sample(self) -> int:
        """Return the number of the next sample: of a source that plays on, what it played meanwhile counts."""
        stored = self._position
        if self._cutter is not None and self._cutter.end is not None:
            passed = round((time.monotonic() - self._heard) * self.source.rate) if self.source.live else 0
            return self._cutter.end + passed
        number = int(stored.get("next", 0))
        if self.source.goes_back:
            return max(int(stored.get("base", 0)), number - round(2 * AROUND_EVENT * self.source.rate))
        if self.source.live and "at" in stored:
            number += max(0, round((time.time() - stored["at"]) * self.source.rate))
        return number

    def _hear(self, block: Block) -> None:
        with self._changed:
            cutter = self._cutter_for(block)
            lost = cutter.lost
            windows, judge, model = list(cutter.add(block)), self._judge, self.model
            self._heard = time.monotonic()
        self._untold += cutter.lost - lost
        if self._untold and self._heard - self._told_lost > TELL_LOST:
            self._tell(f"{self._untold} samples ({self._untold / cutter.rate:.3g} s) were lost")
            self._untold, self._told_lost = 0, self._heard
        self.seconds += block.samples.shape[1] / cutter.rate
        power = float(np.square(block.samples, dtype=np.float64).mean()) / FULL_SCALE**2
        self.meter = 10 * math.log10(max(power, 1e-12))
        self._put_windows(windows, judge, model)

    def _cutter_for(self, block: Block) -> WindowCutter:
        scorer, setup, rate = self.model.served.scorer, self.setup, self.source.rate
        channels = block.samples.shape[0]
        channel = self.model.channel
        form = rate, channels, channel, scorer.sample_rate, scorer.samples, setup.hop
        if self._judge is None or form != self._form:
            self._judge = self._new_judge(rate)
        if self._cutter is not None and form == self._form:
            return self._cutter
        if isinstance(channel, int) and channel >= channels:
            raise InputError(f"{self.source.name} has {channels} channels, and the model hears channel {channel}")
        before, self._form = self._cutter, form
        self._cutter = WindowCutter(
            rate=rate,
            channels=channels,
            channel=channel,
            sample_rate=scorer.sample_rate,
            samples=scorer.samples,
            hop=setup.hop,
            held=2 * AROUND_EVENT + (MOST_WAITING + SPAN) * setup.hop,
        )
        if before is not None:
            self._lost, self._gaps = self._lost + before.lost, self._gaps + before.gaps
            if before.end is not None:
                self._cutter.go_on(before.end)
        elif "next" in self._position:
            self._cutter.go_on(int(self._position["next"]))
        return self._cutter

    def _new_judge(self, rate: int) -> StateJudge:
        setup, model = self.setup, self.model
        options = setup.state_rule, setup.idle_level, model.usual(setup.id_number)
        return StateJudge(*options, rate=rate, sample_rate=model.served.scorer.sample_rate)

    def _end_recording(self) -> None:
        with self._changed:
            cutter = self._cutter
            if cutter is None or cutter.end is None:
                return
            end = cutter.end
            windows, model = list(cutter.finish()), self.model
            judge = self._judge or self._new_judge(cutter.rate)
        self._put_windows(windows, judge, model)
        self._put(WaitingWindow(None, SoundState(WindowState.GAP, UNKNOWN_LEVELS), NO_CLIPS, model, cutter.rate, end))

    def _put_windows(self, windows: list[CutWindow], judge: StateJudge | None, model: LiveModel) -> None:
        for window in windows:
            if window.wave is None:
                found, clips = SoundState(WindowState.GAP, UNKNOWN_LEVELS, "samples were lost"), NO_CLIPS
            else:
                assert judge is not None
                clips = model.clips(window.wave, judge.rate)
                found = judge.judge(window.wave, clips)
            following = window.following
            self._put(
                WaitingWindow(window._replace(wave=None), found, clips, model, judge.rate if judge else 0, following)
            )

    def _put(self, waiting: WaitingWindow) -> None:
        """Let a window wait; if too many do, the oldest of a source that plays on is dropped, and another waits."""
        with self._changed:
            if self.source.live:
                while len(self._waiting) >= MOST_WAITING:
                    self._waiting.popleft()
                    self.dropped += 1
                    if not self._late:
                        self._tell("scores are late: the oldest windows are dropped")
                    self._late = True
            else:
                while len(self._waiting) >= MOST_WAITING and not self._stop.is_set():
                    self._changed.wait(0.5)
            self._waiting.append(waiting)
        self._work.set()

    # --- scoring: the thread of the monitor --------------------------------------------------------------------------
    def take_waiting(self, most: int) -> list[WaitingWindow]:
        """Take the oldest windows that wait."""
        with self._changed:
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            if len(self._waiting) < MOST_WAITING // 2:
                self._late = False
            self._changed.notify_all()
        return taken

    @property
    def waits(self) -> bool:
        """True if a window waits."""
        return bool(self._waiting)

    def look(self) -> None:
        """Note that there is no signal, once per hop, if there has been none for too long."""
        now, patience = time.monotonic(), self.source.quiet_after
        if self.ended or patience is None or now - self._heard < patience:
            return
        if now - self._told_quiet >= self.setup.hop:
            self._told_quiet = now
            end = (self._cutter.end if self._cutter else None) or int(self._position.get("next", 0))
            window = CutWindow(end, end, time.time(), None, end)
            found = SoundState(WindowState.NO_SIGNAL, UNKNOWN_LEVELS, f"no sound for {now - self._heard:.0f} s")
            self.finish(WaitingWindow(window, found, NO_CLIPS, self.model, self.source.rate, end))

    def finish(self, waiting: WaitingWindow) -> None:
        """Take a window whose turn has come: rule, event, listeners."""
        rate = waiting.rate or self.model.served.scorer.sample_rate
        window, found = waiting.window, waiting.found
        position = {**self._position, "source": self.source.identity, "next": waiting.position}
        if window is None:
            with suppress(Exception):
                self.store.keep_state(position_name(self.setup.machine, self.setup.machine_id), position)
            self._position = position
            return
        if found.state is not WindowState.NO_SIGNAL:
            position["at"] = window.at + (waiting.position - window.first) / rate
        usual = self.model.usual(self.setup.id_number)
        low, high = usual.loudest(found.levels.bands) if usual and len(found.levels.bands) else (math.nan, math.nan)
        p_value = waiting.model.p_value(waiting.score, self.setup.id_number)
        scored = ScoredWindow(
            *(window.first, window.end, window.at, found.state, waiting.score, p_value),
            *(found.levels.level, low, high),
        )
        self._note_state(found)
        before = self.keeper.event
        self.keeper.rate = rate
        for line in self._drift.hear(scored, waiting.clips, waiting.model.served.scorer.sample_rate, self.level):
            self._tell(line)
        states = {position_name(self.setup.machine, self.setup.machine_id): position, **self._drift.state()}
        change = self.keeper.hear(scored, states)
        self._position = position
        self.counts[found.state] += 1
        self.recent.append(scored)
        if self.keeper.event and change and (before is None or before.id != self.keeper.event.id):
            self.events += 1
            self._attach(at_once=True)
            around = round(AROUND_EVENT * rate)
            self._pending = self.keeper.event.id, change.first - around, change.first + around
        self._attach()
        for listener in self.listeners:
            listener(self, scored, change)

    def _note_state(self, found: SoundState) -> None:
        if found.state is not self._state:
            told = f": {found.reason}" if found.reason else ""
            if self._state is not None or found.state is not WindowState.RUNNING:
                self._tell(f"{found.state.value}{told}")
            self._state = found.state

    def _attach(self, *, at_once: bool = False) -> None:
        """Store the sound of an event, when it is complete or at once."""
        if self._pending is None or self._cutter is None:
            return
        number, first, end = self._pending
        with self._changed:
            if not at_once and self._cutter.ring.end < end:
                return
            first, samples = self._cutter.ring.read(first, end)
            rate, at = self._cutter.rate, self._cutter.time(first)
        self._pending = None
        if samples.shape[1]:
            try:
                self.store.attach(number, samples, rate, at)
            except Exception as error:  # of the disk: the event itself is stored
                log.warning("%s: the sound of event %d was not stored: %s", self.setup.machine, number, one_line(error))

    def close(self) -> None:
        """Store what is left, when nothing more is heard."""
        self.keeper.flush()
        self._attach(at_once=True)

    def use(self, model: LiveModel, keeper: AlarmKeeper) -> None:
        """Put another model in the place of the one in use; windows that wait keep theirs."""
        with self._changed:
            self.model, self.keeper, self._judge = model, keeper, None  # one for its levels is made with the next block
        self._drift = self._drift_watch()

    def _drift_watch(self) -> DriftWatch:
        usual = self.model.usual_inputs(self.setup.id_number)
        return DriftWatch(self.store, self.setup.machine, self.setup.machine_id, usual)

    def _tell(self, line: str) -> None:
        """Tell what happened to the source: in the log, in the store, and here."""
        log.info("%s %s: %s", self.setup.machine, self.setup.machine_id, line)
        self.health.append((time.time(), line))
        with suppress(Exception):  # of the disk: the log has it
            self.store.add_health(f"{self.setup.machine}", line)
