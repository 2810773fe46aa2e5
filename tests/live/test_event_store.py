"""The store of events: what a kill, hostile names and a small disk do to it, and marks as a data set."""

import math
import multiprocessing
import sqlite3
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mimii_pl.core.errors import InputError
from mimii_pl.dataset.table import Table
from mimii_pl.features.log_mel import LogMel
from mimii_pl.live._trends import KEPT
from mimii_pl.live.alarm import NormalScores
from mimii_pl.live.alarm.simple import Simple
from mimii_pl.live.events import EventStore
from mimii_pl.live.keeper import AlarmKeeper
from mimii_pl.live.marks import export_marks
from mimii_pl.live.output import AlarmOutput, Delivery
from mimii_pl.live.windows import AlarmChange, AlarmLevel, ScoredWindow, WindowState
from mimii_pl.protocol.holdout import Holdout

RATE, STEP = 16000, 80_000
HOSTILE = "../../'; DROP TABLE events; --\0\n=1+1"


def window(number: int, score: float = 1.0, p: float = 0.5, start: float = 1e9) -> ScoredWindow:
    first = number * STEP
    return ScoredWindow(
        first, first + 2 * STEP, start + first / RATE, WindowState.RUNNING, score, p, -30.0, 100.0, 200.0
    )


def change(number: int, level: AlarmLevel, since: int | None = None, score: float = 2.0) -> AlarmChange:
    first = (number if since is None else since) * STEP
    return AlarmChange(window(number, score, 0.01), first, level, f"reason {number}")


@pytest.fixture
def store(tmp_path):
    store = EventStore(tmp_path / "events")
    yield store
    store.close()


def event(store: EventStore, number: int = 4, machine: str = "fan", windows: int = 3) -> int:
    begun = store.begin(machine, "id_00", change(number, AlarmLevel.ALARM), RATE, "v1")
    for later in range(number + 1, number + windows):
        store.extend(begun.id, window(later), RATE)
    return store.end(begun.id).id


def test_an_event_tells_its_start_end_and_peak(store):
    begun = store.begin("fan", "id_00", change(10, AlarmLevel.WARN, since=8), RATE, "v7")
    assert (begun.start, begun.end, begun.open, begun.level) == (1e9 + 40, 1e9 + 60, True, AlarmLevel.WARN)
    store.extend(begun.id, window(11, score=9.0, p=0.002), RATE, change(11, AlarmLevel.ALARM, score=9.0))
    store.extend(begun.id, window(12, score=math.nan, p=math.nan), RATE)
    store.extend(begun.id, window(13, score=3.0), RATE, change(13, AlarmLevel.WARN))
    ended = store.end(begun.id)
    assert (ended.end, ended.open, ended.level, ended.highest) == (1e9 + 75, False, AlarmLevel.NORMAL, AlarmLevel.ALARM)
    assert (ended.score, ended.p_value, ended.low_hertz, ended.high_hertz) == (9.0, 0.002, 100.0, 200.0)
    assert (ended.reason, ended.model) == ("reason 11", "v7")


def test_a_machine_has_one_open_event_and_none_twice(store):
    first = store.begin("fan", "id_00", change(1, AlarmLevel.ALARM), RATE, "v1")
    assert store.begin("fan", "id_00", change(2, AlarmLevel.ALARM), RATE, "v1").id == first.id
    assert store.begin("fan", "id_02", change(2, AlarmLevel.ALARM), RATE, "v1").id != first.id
    store.end(first.id)
    assert store.begin("fan", "id_00", change(1, AlarmLevel.ALARM), RATE, "v1").id == first.id
    assert len(store.events(machine_id="id_00")) == 1


def test_what_is_stored_together_is_stored_or_not(store):
    def fail() -> None:
        with store.together():
            event(store)
            store.trends.append("fan", "id_00", window(1), AlarmLevel.NORMAL)
            store.keep_state("rule", {"level": 2})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (store.events(), store.state("rule"), store.trends.read("fan", "id_00", 0, 2e9)) == ([], None, [])


def test_names_and_notes_are_text_and_no_paths(store, tmp_path):
    number = event(store, machine=HOSTILE)
    store.attach(number, np.zeros((1, 60 * RATE), np.int16), RATE, 1e9)
    store.mark(number, "fault", HOSTILE)
    (stored,) = store.events(machine=HOSTILE)
    assert (stored.machine, stored.note) == (HOSTILE, HOSTILE)
    store.mark(number, "fault", "half a pair \ud800")
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in files if "events.db" not in name} == {"events/sound/1.flac", "events/spectrogram/1.png"}
    with pytest.raises(InputError, match="marked normal, fault, unsure"):
        store.mark(number, "bad")
    with pytest.raises(InputError, match="at most 2000 characters"):
        store.mark(number, "fault", "x" * 2001)
    with pytest.raises(InputError, match="there is no event 99"):
        store.mark(99, "fault")
    with pytest.raises(InputError, match="has a control character"):
        export_marks(store, tmp_path / "marks")


def test_the_oldest_sound_goes_first_and_that_of_marked_events_last(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(-9000, 9000, (1, 8 * RATE)).astype(np.int16)  # some 0.25 MB
    store = EventStore(tmp_path, max_mb=1.2)
    numbers = [event(store, number) for number in range(0, 60, 10)]
    store.mark(numbers[0], "normal")
    for number in numbers:
        store.attach(number, noise, RATE, 1e9)
    kept = [number for number in numbers if store.sound_path(number)]
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.suffix in (".flac", ".png"))
    assert size <= 1.2e6
    assert kept[0] == numbers[0]
    assert kept[1:] == numbers[-len(kept) + 1 :]
    assert {store.event(number).sound for number in numbers if number not in kept} == {"deleted"}
    assert "(max_mb)" in caplog.text
    store.close()


def test_history_is_fine_for_hours_coarse_for_weeks_and_bounded(store):
    days, step = 30, 30.0
    with store.together():
        for number in range(round(days * 86400 / step)):
            at = 1e9 + number * step
            judged = window(0, score=float(number), p=0.25)._replace(at=at)
            store.trends.append("fan", "id_00", judged, AlarmLevel.NORMAL)
    end = 1e9 + days * 86400
    hour, week = (store.trends.read("fan", "id_00", end - span, end) for span in (3600, 7 * 86400))
    assert [hour[0].seconds, week[0].seconds] == [10, 600]
    assert sum(point.windows for point in week) == pytest.approx(7 * 86400 / step, abs=40)
    assert (week[-1].p_value, week[-1].score_max) == (0.25, days * 86400 / step - 1)
    ((rows,),) = store.database.read("SELECT count(*) FROM history")
    assert rows < sum(min(kept, days * 86400) / seconds for seconds, kept in KEPT.items()) + 4 * 250


def test_a_later_schema_and_a_file_that_is_no_database_are_refused(tmp_path):
    EventStore(tmp_path / "later").close()
    with sqlite3.connect(tmp_path / "later" / "events.db") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="later version"):
        EventStore(tmp_path / "later")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "events.db").write_bytes(b"no database" * 500)
    with pytest.raises(InputError, match="cannot be used"):
        EventStore(tmp_path / "none")


def test_marks_are_a_table_that_a_run_reads(store, tmp_path, caplog):
    sound = np.arange(60 * RATE, dtype=np.int16)[None]
    for number, mark in ((4, "normal"), (40, "fault"), (80, "unsure"), (120, "fault")):
        marked = event(store, number)
        store.mark(marked, mark, "a note, with a comma")
        if number != 120:
            store.attach(marked, sound, RATE, store.event(marked).start - 10)
    table = export_marks(store, tmp_path / "marks")
    assert "1 events marked unsure, 1 without sound" in caplog.text
    data = Table(root=str(table), machine="all", protocol=Holdout(), features=LogMel(sample_rate=RATE))
    clips = data.discover()
    assert [(clip.path.name, clip.condition, clip.label) for clip in clips] == [
        ("1.flac", "normal", "fan/id_00"),
        ("2.flac", "anomaly", "fan/id_00"),
    ]
    heard, _ = soundfile.read(clips[1].path, dtype="int16")
    assert len(heard) == 20 * RATE  # three windows of 10 s that overlap by half
    assert (heard == sound[0, 10 * RATE : 30 * RATE]).all()


def follow(folder: Path, started: Connection) -> None:
    """Hear 3,000 windows with 300 events in them, from where the last process ended."""
    store = EventStore(folder)
    often = {"warn_per_month": 9e4, "false_per_month": 9e4}
    rule = Simple(warn=0.05, alarm=0.05, clear=1, **often).fit(NormalScores(np.arange(99.0), 10.0), 10.0)
    delivery = Delivery(store, [AlarmOutput("none", "", "")])  # that nothing empties
    keeper = AlarmKeeper(store, rule, delivery, machine="fan", machine_id="id_00", rate=RATE, model="v1")
    started.send("started")
    for number in range((store.state("heard") or {"next": 0})["next"], 3000):
        p = 0.01 if number % 10 in (3, 4, 5) else 0.9
        heard = window(2 * number, score=1 - p, p=p)
        with store.together():
            keeper.hear(heard)
            store.keep_state("heard", {"next": number + 1})
    started.send("finished")


def test_a_kill_at_any_moment_loses_and_doubles_nothing(tmp_path):
    forked, rng = multiprocessing.get_context("fork"), np.random.default_rng(0)
    for kill in range(11):
        here, there = forked.Pipe()
        process = forked.Process(target=follow, args=(tmp_path, there))
        process.start()
        assert here.recv() == "started"
        if kill < 10:
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
        else:
            assert here.recv() == "finished"
        process.join()
    store = EventStore(tmp_path)
    events = store.events(limit=1000)
    assert [event.first for event in reversed(events)] == [(10 * number + 3) * 2 * STEP for number in range(300)]
    assert {(event.open, event.end - event.start) for event in events} == {(False, 30.0)}
    keys = store.database.read("SELECT key FROM outbox")
    assert len(keys) == len(set(keys)) == 600  # begin and end of each
    store.close()
