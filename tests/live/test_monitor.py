"""`mimii monitor`: what is heard is scored as a recording is, events are kept through kills, and sources come back."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import world
from support.streams import over_http

import mimii_pl
from mimii_pl.core.config import CONF
from mimii_pl.core.errors import InputError
from mimii_pl.deploy.serving.served import open_served
from mimii_pl.live import station as station_module
from mimii_pl.live.events import EventStore
from mimii_pl.live.model import LiveModel
from mimii_pl.live.monitor import Monitor
from mimii_pl.live.output import Delivery
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.plant import StationOptions, read_plant
from mimii_pl.live.source import SoundSource, SourceLostError
from mimii_pl.live.start import StationBuilder
from mimii_pl.live.windows import AlarmLevel, Block, WindowState

RATE = world.RATE
RULE = {"_target_": "mimii_pl.live.alarm.n_of_m.NOfM", "n": 3, "m": 4, "warn_per_month": 1e5, "false_per_month": 1e5}
FAULT = (20.0, 30.0)  # s of `day`


@pytest.fixture(scope="module")
def model(finished):
    return LiveModel.of(open_served("run", finished, device="cpu"))


class Bench:
    """A monitor in this process, with a folder of events that outlives it."""

    def __init__(self, folder: Path, model: LiveModel):
        self.folder, self.model = folder, model
        self.windows: list = []
        self.changes: list = []

    def monitor(self, *options: StationOptions, source: SoundSource | None = None) -> Monitor:
        store, work = EventStore(self.folder), threading.Event()
        delivery, figures = Delivery(store, []), MonitorFigures()
        builder = StationBuilder(store, delivery, figures, RULE, "max")
        stations = [builder.station(one, self.model, work) for one in options]
        if source is not None:
            stations[0].source = source
        for station in stations:
            station.listeners.append(self._heard)
        return Monitor(stations, store, delivery, figures, work)

    def _heard(self, station, window, change):
        self.windows.append((station.setup.machine, window))
        if change:
            self.changes.append(change)

    def run(self, *options: StationOptions, source: SoundSource | None = None) -> Monitor:
        monitor = self.monitor(*options, source=source)
        monitor.run()
        self.stored = monitor.store.events()
        monitor.store.close()
        return monitor


@pytest.fixture
def bench(tmp_path, model):
    return Bench(tmp_path / "events", model)


@pytest.fixture
def recorded(tmp_path, day):
    soundfile.write(tmp_path / "day.wav", day, RATE, subtype="PCM_16")
    return tmp_path / "day.wav"


def options(source, name=None, **more):
    return StationOptions(name, "run", str(source), "id_00", **more)


def test_a_recording_is_scored_as_the_run_scores_it_and_its_fault_is_an_event(bench, recorded, finished, day):
    monitor = bench.run(options(f"file:{recorded}"))
    offline = mimii_pl.load(finished, device="cpu").timeline(recorded, machine_id="id_00")
    scores = np.array([window.score for _, window in bench.windows])
    assert scores == pytest.approx(offline.score, rel=1e-6)
    assert [window.first / RATE for _, window in bench.windows] == pytest.approx(offline.start)
    assert monitor.stations[0].counts == {WindowState.RUNNING: len(scores)}

    (event,) = bench.stored
    assert FAULT[0] - 1 <= event.first / RATE < FAULT[0] + 1
    assert FAULT[1] - 1 <= event.last / RATE < FAULT[1] + 4
    assert (event.highest, event.open, event.rate) == (AlarmLevel.ALARM, False, RATE)
    assert any(event.low_hertz <= hertz <= event.high_hertz for hertz in (270, 5000))  # its pitch, its whistle
    assert event.end - event.start == pytest.approx((event.last - event.first) / RATE)
    sound, rate = soundfile.read(bench.folder / "sound" / f"{event.id}.flac", dtype="int16")
    begin = event.first - 10 * RATE
    assert rate == RATE
    assert np.array_equal(sound, day[begin : event.first + 10 * RATE])


def test_two_stations_are_scored_in_batches_and_do_not_mix(bench, recorded, tmp_path, day, model, monkeypatch):
    soundfile.write(tmp_path / "healthy.wav", day[: 20 * RATE], RATE, subtype="PCM_16")
    sizes = []
    score_waves = type(model.served.scorer).score_waves
    monkeypatch.setattr(
        type(model.served.scorer),
        "score_waves",
        lambda self, waves, ids, *more: sizes.append(len(waves)) or score_waves(self, waves, ids, *more),
    )
    bench.run(options(f"file:{recorded}", "line 1"), options(f"file:{tmp_path / 'healthy.wav'}", "line 2"))
    assert {event.machine for event in bench.stored} == {"line 1"}
    assert [sum(name == line for name, _ in bench.windows) for line in ("line 1", "line 2")] == [99, 39]
    assert max(sizes) == model.served.batch


def key(event):
    """What is equal of an event, however often the monitor was started."""
    return event[:8], event.highest, event.reason, event.sound, pytest.approx(event.score, rel=1e-5)


class Killed(Exception):  # noqa: N818
    """As good as a kill: nothing is stored after it."""


def test_a_monitor_that_is_killed_goes_on_where_it_was(bench, recorded):
    bench.run(options(f"file:{recorded}"))
    whole, events = bench.windows, bench.stored
    again = Bench(bench.folder.with_name("again"), bench.model)
    for kill_after in (10, 35, 45, 60, None):  # windows in all, some in the midst of the event
        monitor = again.monitor(options(f"file:{recorded}"))

        def stop(*_, monitor=monitor, last=kill_after):
            if last and len(again.windows) >= last:
                raise Killed

        monitor.stations[0].listeners.append(stop)
        if kill_after:
            with pytest.raises(Killed):
                monitor.run()
        else:
            monitor.run()
            again.stored = monitor.store.events()
        monitor.store.close()
    assert [window[:4] for _, window in again.windows] == [window[:4] for _, window in whole]
    found, expected = ([window.score for _, window in windows] for windows in (again.windows, whole))
    assert found == pytest.approx(expected, rel=1e-5)  # batches round differently
    assert [key(one) for one in again.stored] == [key(one) for one in events]


class Played(SoundSource):
    """Plays what a function yields, as a device does."""

    def __init__(self, play, *, live=True):
        super().__init__("played")
        self.play, self.live, self.opened = play, live, 0
        self.rate, self.channels = RATE, 1

    def open(self):
        self.opened += 1

    def blocks(self, first):
        yield from self.play(self, first)


def test_a_recording_that_another_one_replaces_is_heard_anew(bench, recorded):
    first = bench.run(options(f"file:{recorded}")).stations[0]
    assert first.counts[WindowState.RUNNING] > 0
    assert bench.run(options(f"file:{recorded}")).stations[0].counts.total() == 0  # to its end already
    os.utime(recorded, ns=(1, 1))
    again = bench.run(options(f"file:{recorded}")).stations[0]
    assert again.counts == first.counts


def test_a_gap_is_counted_and_not_scored(bench, day):
    def play(_, first):
        for at in range(0, 10 * RATE, RATE // 4):
            lost = 1234 if at >= 5.25 * RATE else 0
            yield Block(first + at + lost, day[None, at : at + RATE // 4], 1000.0 + (at + lost) / RATE)

    station = bench.run(options("-", rate=RATE), source=Played(play, live=False)).stations[0]
    assert (station.lost, station.gaps, station.counts[WindowState.GAP]) == (1234, 1, 2)
    unscored = [window for _, window in bench.windows if window.state is WindowState.GAP]
    assert all(np.isnan(window.score) and np.isnan(window.p_value) for window in unscored)


def test_a_source_that_is_lost_comes_back_and_the_time_between_counts(bench, day, monkeypatch):
    monkeypatch.setattr(station_module, "FIRST_WAIT", 0.3)

    def play(source, first):
        yield Block(first, day[None, : 2 * RATE], time.time() - 2)
        if source.opened < 3:
            raise SourceLostError("pulled out")

    source = Played(play)
    source.quiet_after = 0.1
    station = bench.run(options("-", rate=RATE), source=source).stations[0]
    assert (source.opened, station.reconnects, station.gaps) == (3, 2, 2)
    assert 0.5 < station.lost / RATE < 3
    told = [line for _, line in station.health]
    assert sum("pulled out; opened again" in line for line in told) == 2
    assert any("heard again" in line for line in told)


def test_no_signal_is_a_state(bench):
    def play(source, _):
        while not source.stopped:
            time.sleep(0.02)
        yield from ()

    source = Played(play)
    source.quiet_after = 0.1
    monitor = bench.monitor(options("-", rate=RATE), source=source)
    threading.Timer(1.5, monitor.stop).start()
    monitor.run()
    assert monitor.stations[0].state is WindowState.NO_SIGNAL
    monitor.store.close()


def test_late_scores_drop_the_oldest_windows_of_a_device_and_none_of_a_file(bench, day, monkeypatch):
    slow = LiveModel.score

    def score(self, *windows):
        time.sleep(0.05)
        slow(self, *windows)

    monkeypatch.setattr(LiveModel, "score", score)
    monkeypatch.setattr(station_module, "MOST_WAITING", 4)

    def play(_, first):
        for at in range(0, 40 * RATE, RATE):
            yield Block(first + at, day[None, at : at + RATE], 1000.0 + at / RATE)

    station = bench.run(options("-", rate=RATE), source=Played(play)).stations[0]
    assert station.dropped > 10
    assert station.dropped + sum(station.counts.values()) == 79
    assert bench.windows[-1][1].end == 40 * RATE  # the newest ones are scored
    other = Bench(bench.folder.with_name("other"), bench.model)
    waited = other.run(options("-", rate=RATE), source=Played(play, live=False)).stations[0]
    assert (waited.dropped, sum(waited.counts.values())) == (0, 79)


def test_another_microphone_is_told_before_the_first_score(bench, tmp_path, day):
    spectrum = np.fft.rfft(day[: 5 * RATE])
    spectrum[len(spectrum) // 6 :] /= 100
    soundfile.write(tmp_path / "muffled.wav", np.fft.irfft(spectrum) / 32768, RATE, subtype="PCM_16")
    station = bench.run(options(f"file:{tmp_path / 'muffled.wav'}")).stations[0]
    assert set(station.counts) == {WindowState.UNFAMILIAR}
    assert any("another microphone" in line for _, line in station.health)
    assert all(np.isnan(window.score) for _, window in bench.windows)


def test_a_model_is_replaced_while_it_listens(bench, recorded, day):
    monitor = bench.monitor(options(f"file:{recorded}"))
    (station,) = monitor.stations
    other = LiveModel.of(open_served("other", bench.model.served.place, hop=0.25, device="cpu"))
    builder = StationBuilder(monitor.store, monitor.delivery, monitor.figures, RULE, "max")
    station.listeners.append(
        lambda *_: len(bench.windows) == 20 and monitor.models.put(lambda: builder.replace(station, other))
    )
    monitor.run()
    assert station.model is other
    assert len(bench.windows) >= 99
    monitor.store.close()


# --- as its user starts it -------------------------------------------------------------------------------------------
def started(folder, *words, stdin=subprocess.DEVNULL):
    command = [
        sys.executable,
        "-m",
        "mimii_pl",
        "monitor",
        "device=cpu",
        "events=events",
        "page.port=null",
        "alarm.n=3",
        "alarm.m=4",
        *words,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.slow
def test_kill_at_any_moment_loses_and_doubles_no_event(tmp_path, finished, recorded):
    words = f"run={finished}", f"source=file:{recorded}", "machine_id=id_00", "speed=max"
    with closing(EventStore(tmp_path / "events")) as store:
        rng = np.random.default_rng(0)
        for _ in range(2):
            process = started(tmp_path, *words)
            for line in iter(process.stdout.readline, b""):
                if b"heard" in line:
                    break
            time.sleep(float(rng.uniform(0, 0.15)))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        output, _ = started(tmp_path, *words).communicate(timeout=60)
        assert b"events" in output
        (event,) = store.events()
        assert (FAULT[0] - 1 <= event.first / RATE < FAULT[0] + 1, event.open) == (True, False)
        ((windows,),) = store.database.read("SELECT sum(windows) FROM history WHERE step = 3600")
        assert windows == 99
        assert event.sound == "kept"


@pytest.mark.slow
def test_sigterm_ends_it_with_a_table(tmp_path, finished, day):
    process = started(
        tmp_path, f"run={finished}", "source=-", f"rate={RATE}", "machine_id=id_00", stdin=subprocess.PIPE
    )
    process.stdin.write(day[: 10 * RATE].astype("<i2").tobytes())
    process.stdin.flush()
    lines = []
    for line in iter(process.stdout.readline, b""):
        lines.append(line)
        if b"heard" in line:
            break
    refused, _ = started(tmp_path, f"run={finished}", f"source=file:{finished}", "machine_id=id_00").communicate()
    assert b"is being written by process" in refused  # the folder of events
    process.terminate()
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert re.search(r"fan id_00 +\d+", output.decode())


@pytest.mark.slow
def test_a_stream_that_hangs_is_heard_again(tmp_path, finished, recorded, monkeypatch, bench):
    pytest.importorskip("av")
    from mimii_pl.live.source.stream import StreamSource

    monkeypatch.setattr(station_module, "FIRST_WAIT", 0.1)
    with over_http(recorded.read_bytes(), hang_after=200_000) as url:
        station = bench.run(options("-", rate=RATE), source=StreamSource(url, patience=1.0)).stations[0]
    assert station.reconnects == 1
    assert any("no sound for 1 s" in line for _, line in station.health)
    assert station.counts[WindowState.RUNNING] >= 99


# --- plants ----------------------------------------------------------------------------------------------------------
def test_the_example_of_a_plant_is_read():
    stations = read_plant(CONF / "monitor" / "plant.yaml", StationOptions(None, "latest", ""))
    assert len(stations) == 4
    assert {one.run for one in stations} == {"models:/fan@champion", "models:/pump@champion", "models:/valve@champion"}
    assert [one.state for one in stations] == ["auto", "auto", "auto", "none"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[", "plant="),
        ("- a", "should be a mapping"),
        ("line 1: mic:0", "should be a mapping"),
        ("line 1: {sorce: a}", "Did you mean source"),
        ("line 1: {rate: fast}", "should be a whole number"),
        ("line 1: {polling: 1}", "should be true or false"),
        ("line 1: {machine_id: 0}", "should be a text"),
        ("line 1: !!python/object/apply:os.system ['true']", "plant="),
    ],
)
def test_a_plant_that_is_wrong(tmp_path, text, fault):
    (tmp_path / "plant.yaml").write_text(text)
    with pytest.raises(InputError, match=re.escape(fault)) as found:
        read_plant(tmp_path / "plant.yaml", StationOptions(None, "latest", ""))
    assert "\n" not in str(found.value)
