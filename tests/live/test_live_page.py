"""The page of a monitor: what it shows, whom it serves, what it stores, and that scoring never waits for it."""

import base64
import csv
import http.client
import io
import json
import math
import socket
import threading
import time
import zipfile
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from support import world
from support.browser import browsing

from mimii_pl.core.errors import InputError
from mimii_pl.deploy.serving.served import open_served
from mimii_pl.live.alarm.cusum import Cusum
from mimii_pl.live.alarm.simple import Simple
from mimii_pl.live.events import EventStore
from mimii_pl.live.model import LiveModel
from mimii_pl.live.output import Delivery
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.page import check_page, serve_page
from mimii_pl.live.page.app import make_page
from mimii_pl.live.page.facts import score_limits, trend_facts
from mimii_pl.live.page.feed import MOST_MESSAGES, FeedClient, PageFeed
from mimii_pl.live.page.spectrum import COLUMNS_PER_SECOND, SPECTRUM_ROWS, RollingSpectrogram
from mimii_pl.live.plant import StationOptions
from mimii_pl.live.start import StationBuilder
from mimii_pl.live.windows import AlarmChange, AlarmLevel, Block, ScoredWindow, WindowState

RATE = world.RATE
HOSTILE = "<img src=x onerror=alert(1)>'\"{{7*7}}\N{RIGHT-TO-LEFT OVERRIDE}"
RULE = {"_target_": "mimii_pl.live.alarm.n_of_m.NOfM", "n": 3, "m": 4, "warn_per_month": 1e5, "false_per_month": 1e5}
TOKEN = "geheim-grün"
HERE = "http://localhost"


class Hall:
    """Two stations whose sound and scores a test gives, their store, and their page."""

    def __init__(self, folder, model):
        self.store, self.figures = EventStore(folder / "events"), MonitorFigures()
        work = threading.Event()
        builder = StationBuilder(self.store, Delivery(self.store, []), self.figures, RULE, "max")
        options = [StationOptions(name, "run", "-", "id_00", rate=RATE) for name in (HOSTILE, "pump")]
        self.stations = [builder.station(one, model, work) for one in options]
        self.at = round(time.time()) - 600

    def hear(self, number, score, p_value, count=1, state=WindowState.RUNNING):
        """Let a station finish windows as its monitor does."""
        station = self.stations[number]
        for _ in range(count):
            self.at += 1
            window = ScoredWindow(self.at * RATE, (self.at + 1) * RATE, self.at, state, score, p_value, -20.0, 300, 400)
            change = station.keeper.hear(window)
            for listener in station.listeners:
                listener(station, window, change)

    def sound(self, number, wave, first=0):
        """Let a station hear sound."""
        self.stations[number].source.rate = RATE
        self.stations[number]._hear(Block(first, wave[None], self.at))

    def event(self, number=0, sound=True):
        """Let an alarm begin and end; return its event."""
        self.hear(number, 9.0, 0.001, 6)
        (event, *_) = self.store.events(limit=1)
        self.hear(number, 0.1, 0.9, 6)
        if sound:
            tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)).astype(np.int16)[None]
            self.store.attach(event.id, tone, RATE, event.start - 1)
        return event

    @contextmanager
    def client(self, token=None, host=HERE):
        """A client of the page in this thread."""
        with closing(EventStore(self.store.folder)) as store:
            app = make_page(PageFeed(self.stations, 1.0), store, self.figures, token)
            with TestClient(app, base_url=host, follow_redirects=False, raise_server_exceptions=False) as client:
                yield client

    @contextmanager
    def served(self, **options):
        """The address of the page on a free port."""
        with serve_page(self.stations, self.store.folder, self.figures, **{"port": 0, **options}) as address:
            yield address


@pytest.fixture(scope="module")
def model(finished):
    return LiveModel.of(open_served("run", finished, device="cpu"))


@pytest.fixture
def hall(tmp_path, model):
    one = Hall(tmp_path, model)
    yield one
    one.store.close()


# --- what it shows ---------------------------------------------------------------------------------------------------
def test_pages_show_hostile_names_and_notes_as_text(hall):
    event = hall.event()
    hall.store.mark(event.id, "unsure", HOSTILE + "</textarea><script>alert(1)</script>")
    hall.store.add_health(HOSTILE, HOSTILE)
    with hall.client() as page:
        for path in ("/", "/machines/0", "/events", "/events/latest", f"/events/{event.id}", "/health"):
            answer = page.get(path)
            assert answer.status_code == 200, answer.text
            assert "&lt;img src=x" in answer.text
            assert "<img src=x" not in answer.text
            assert "</textarea><script" not in answer.text
            assert "//" not in answer.text  # no other host
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy


def test_an_event_is_seen_heard_marked_and_acknowledged(hall):
    event = hall.event()
    with hall.client() as page:
        sound = page.get(f"/events/{event.id}/sound.flac")
        assert (sound.headers["Content-Type"], sound.content[:4]) == ("audio/flac", b"fLaC")
        part = page.get(f"/events/{event.id}/sound.flac", headers={"Range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, sound.content[:10])
        assert page.get(f"/events/{event.id}/spectrogram.png").content[:4] == b"\x89PNG"
        answer = page.post(f"/events/{event.id}/mark", data={"mark": "fault", "note": "bearing\r\n=1+1"})
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/events/{event.id}")
        assert page.post(f"/events/{event.id}/acknowledge").status_code == 303
        shown = page.get(f"/events/{event.id}").text
    stored = hall.store.event(event.id)
    assert (stored.mark, stored.note) == ("fault", "bearing\n=1+1")
    assert stored.acknowledged == pytest.approx(time.time(), abs=60)
    assert "bearing\n=1+1</textarea>" in shown
    assert "Acknowledge" not in shown


def test_labels_are_a_table_that_no_spreadsheet_runs(hall):
    notes = ["=cmd|' /C calc'!A0", "+1", 'line\r\nwith "quotes", commas', "ä 中"]
    for note in notes:
        hall.store.mark(hall.event(sound=False).id, "fault", note)
    hall.event(sound=False)
    with hall.client() as page:
        answer = page.get("/labels.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["note"] for row in rows] == ["'" + notes[0], "'" + notes[1], *notes[2:]]
    assert {(row["machine"], row["id"], row["mark"], row["level"]) for row in rows} == {
        (HOSTILE, "id_00", "fault", "alarm")
    }
    assert "labels.csv" in answer.headers["Content-Disposition"]


def test_marks_come_with_their_sound(hall):
    with hall.client() as page:
        refused = page.get("/marks.zip")
        for machine, mark in ((0, "fault"), (1, "unsure"), (1, "normal")):
            hall.store.mark(hall.event(machine).id, mark)
        archive = zipfile.ZipFile(io.BytesIO(page.get("/marks.zip").content))
    rows = list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"))))
    assert [(row["path"], row["condition"], row["machine"]) for row in rows] == [
        ("1.flac", "anomaly", "fan"),  # as the model calls it
        ("3.flac", "normal", "fan"),
    ]
    wave, rate = soundfile.read(io.BytesIO(archive.read("3.flac")))
    assert (rate, len(wave)) == (RATE, RATE)  # of 2 s, that from the start of the event on
    assert (refused.status_code, "mark some first" in refused.text) == (422, True)


def test_pages_of_events_hold_all_of_them_once(hall):
    for number in range(60):
        window = ScoredWindow(number * RATE, number * RATE + 1, 1000.0 + number, WindowState.RUNNING, 1, 0.01, 0, 1, 2)
        event = hall.store.begin("pump", "id_00", AlarmChange(window, window.first, AlarmLevel.WARN, "p"), RATE, "m")
        hall.store.end(event.id)
    with hall.client() as page:
        first = page.get("/events?machine=1&marked=false").text
        (older,) = [line.split('href="')[1].split('"')[0] for line in first.splitlines() if 'rel="next"' in line]
        second = page.get(older.replace("&amp;", "&")).text
    numbers = [int(part.split('"')[0]) for text in (first, second) for part in text.split('href="/events/')[1:]]
    assert numbers == list(range(60, 0, -1))


def test_a_trend_has_gaps_where_nothing_was_heard(hall):
    for at in (100, 110, 120, 400, 410):
        window = ScoredWindow(at, at + 1, hall.at + at, WindowState.RUNNING, at / 100, 0.5, -20.0, math.nan, math.nan)
        hall.store.trends.append("pump", "id_00", window, AlarmLevel.WARN if at == 400 else AlarmLevel.NORMAL)
    with hall.client() as page:
        told = page.get(f"/machines/1/trend?span=3600&until={hall.at + 1000}").json()
        assert page.get("/machines/0/trend?span=1e9&until=nan").json()["at"] == []
    assert told["score"] == [1.0, 1.1, 1.2, None, 4.0, 4.1]
    assert told["alarm"] == [0, 0, 0, None, 1, 0]
    assert trend_facts([])["at"] == []


def test_health_tells_the_source_the_model_and_what_happened(hall):
    hall.hear(1, 0.1, 0.9, 3)
    hall.figures.latency.labels("pump", "id_00").observe(0.25)
    hall.stations[1].dropped = 7
    hall.store.add_health("pump", "scores are late")
    with hall.client() as page:
        told = page.get("/health").text
        metrics = page.get("/metrics").text
        assert page.get("/healthz").json() == {"status": "alive"}
    for words in (
        "250 ms",
        "<dd>7</dd>",
        "scores are late",
        hall.stations[1].model.served.fingerprint,
        "3 of 4 windows",
    ):
        assert words in told
    assert 'mimii_windows_total{machine="pump",machine_id="id_00",state="running"} 3.0' in metrics


def test_lines_of_the_chart_are_the_scores_at_which_windows_count(hall):
    normal = np.arange(1.0, 41.0)
    for limit, line in ((0.5 / 41, None), (1 / 41, 40.0), (2 / 41, 39.0), (0.2, 33.0)):
        rule = Simple(warn=limit, alarm=limit, clear=5.0)
        rule.limits = dict.fromkeys(rule.limits, limit)
        found = score_limits(rule, normal).get("alarm")
        assert found == line
        if line is not None:
            p_value = lambda score: (1 + (normal >= score).sum()) / 41  # noqa: E731
            assert p_value(line + 1e-6) <= limit + 1e-12 < p_value(line)
    assert score_limits(Cusum(), normal) is None


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "path", "form", "status"),
    [
        ("GET", "/events/99", None, 404),
        ("GET", "/events/99/sound.flac", None, 404),
        ("GET", "/events/../../../etc/passwd/sound.flac", None, 404),
        ("GET", "/events/..%2F..%2Fevents.db/sound.flac", None, 404),
        ("GET", "/events/1.5/sound.flac", None, 422),
        ("GET", f"/events/{1 << 70}", None, 422),
        ("GET", "/events/-1", None, 422),
        ("GET", "/static/../app.py", None, 404),
        ("GET", "/static/..%2Fapp.py", None, 404),
        ("GET", "/machines/2", None, 404),
        ("GET", "/machines/-1", None, 404),
        ("GET", "/events?machine=5", None, 404),
        ("GET", "/events?until=soon", None, 422),
        ("GET", "/stream?station=9", None, 404),
        ("GET", "/docs", None, 404),
        ("POST", "/events/99/mark", {"mark": "fault"}, 404),
        ("POST", "/events/99/acknowledge", {}, 404),
        ("POST", "/events/1/mark", {"mark": "<b>"}, 422),
        ("POST", "/events/1/mark", None, 422),
        ("POST", "/events/1/mark", {"note": "without a mark"}, 422),
        ("POST", "/events/1/mark", {"mark": "fault", "note": "x" * 2001}, 422),
        ("POST", "/events/1/mark", {"mark": "fault", "note": "x" * 200_000}, 413),
        ("POST", "/events/1/mark", {f"f{number}": "" for number in range(30)}, 422),
        ("DELETE", "/events/1", None, 405),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(hall, method, path, form, status):
    event = hall.event(sound=False)
    assert event.id == 1
    with hall.client() as page:
        answer = page.request(method, path, data=form)
    assert answer.status_code == status, answer.text
    assert str(hall.store.folder) not in answer.text
    assert hall.store.event(1).mark == ""


def test_without_the_token_nothing_is_told(hall):
    event = hall.event()
    with hall.client(TOKEN, host="http://factory.example:8000") as page:
        for path in ("/", "/events", f"/events/{event.id}/sound.flac", "/labels.csv", "/metrics", "/stream", "/health"):
            for headers in (
                {},
                {"Authorization": "Bearer other"},
                {"X-API-Key": ""},
                {"Cookie": f"mimii_page={TOKEN[:6]}"},
            ):
                answer = page.get(path, headers=headers)
                assert (answer.status_code, "pump" in answer.text) == (401, False)
        assert "Token of this monitor" in page.get("/", headers={"Accept": "text/html"}).text
        assert page.get("/healthz").status_code == page.get("/static/page.css").status_code == 200
        assert page.post("/events/1/mark", data={"mark": "fault"}).status_code == 401
        for headers in ({"X-API-Key": TOKEN.encode()}, {"Authorization": f"Bearer {TOKEN}".encode()}):
            assert page.get("/metrics", headers=headers).status_code == 200
            assert page.post("/events/1/mark", data={"mark": "unsure"}, headers=headers).status_code == 303


def test_the_token_is_given_once_and_kept_in_a_cookie_that_does_not_tell_it(hall, monkeypatch):
    monkeypatch.setattr("mimii_pl.live.page.access.REFUSED_PAUSE", 0.01)
    hall.event()
    origin = {"Origin": "http://factory.example"}
    with hall.client(TOKEN, host="http://factory.example") as page:
        assert page.post("/login", data={"token": "wrong"}, headers=origin).status_code == 401
        assert page.post("/login", data={"token": TOKEN}, headers={"Origin": "http://evil.example"}).status_code == 403
        answer = page.post("/login", data={"token": TOKEN}, headers=origin)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert TOKEN.encode() not in cookie.encode("latin-1", "replace")
        assert all(word in cookie.lower() for word in ("httponly", "samesite=strict"))
        assert page.get("/").status_code == 200
        assert page.post("/events/1/mark", data={"mark": "fault"}, headers=origin).status_code == 303
        assert page.post("/events/1/mark", data={"mark": "normal"}).status_code == 403  # a cookie, and no origin
        assert page.post("/events/1/mark", data={"mark": "normal"}, headers={"Origin": "null"}).status_code == 403
    assert hall.store.event(1).mark == "fault"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9", "http://localhost.evil.example"]
)
def test_a_page_of_another_host_changes_nothing(hall, origin):
    hall.event(sound=False)
    with hall.client() as page:
        for headers in ({"Origin": origin}, {"Sec-Fetch-Site": "cross-site"}):
            for path in ("/events/1/mark", "/events/1/acknowledge"):
                assert page.post(path, data={"mark": "fault"}, headers=headers).status_code == 403
        assert page.post("/events/1/mark", data={"mark": "fault"}, headers={"Origin": HERE}).status_code == 303
    assert hall.store.event(1).acknowledged is None


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[", ""])
def test_without_a_token_a_name_of_another_host_leads_nowhere(hall, host):
    with hall.client() as page:
        assert page.get("/", headers={"Host": host}).status_code == 421
        for own in ("localhost:9000", "127.0.0.1", "[::1]:8000"):
            assert page.get("/", headers={"Host": own}).status_code == 200


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"port": 70000}, "page.port=70000: should be 0 "),
        ({"port": "x"}, "page.port=x: should be 0 "),
        ({"host": "0.0.0.0"}, "page.host=0.0.0.0: others could look"),
        ({"token": "short"}, "page.token: should have 8 characters"),
        ({"host": "256.0.0.1", "token": TOKEN}, "page.host=256.0.0.1 page.port=0 cannot be listened on"),
    ],
)
def test_wrong_options_of_a_page_are_named(options, fault):
    with pytest.raises(InputError, match=fault):
        check_page(**{"port": 0, **options})


def test_a_port_in_use_is_told_before_anything_is_listened_to():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"page\.port={port} cannot be listened on: .*page\.port=0"):
            check_page(port=port)


# --- what comes as it happens ----------------------------------------------------------------------------------------
class Listener:
    """A client of the stream."""

    def __init__(self, address, query=""):
        parts = urlsplit(address)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        self.connection.request("GET", f"/stream{query}")
        self.answer = self.connection.getresponse()

    def next(self, wanted):
        """The next event of a name."""
        name = None
        while True:
            line = self.answer.readline()
            assert line, f"the stream ended before {wanted}"
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: ") and name == wanted:
                return json.loads(line[6:])

    def close(self):
        self.answer.close()
        self.connection.close()


def test_the_stream_tells_windows_events_levels_and_spectra(hall):
    hall.hear(1, 0.5, 0.4)
    tone = (8000 * np.sin(2 * np.pi * 2031.25 * np.arange(3 * RATE) / RATE)).astype(np.int16)
    hall.sound(1, tone)
    with hall.served() as address, closing(Listener(address, "?station=1")) as stream:
        hello = stream.next("hello")
        assert [one["machine"] for one in hello["stations"]] == [HOSTILE, "pump"]
        assert set(hello["stations"][1]["limits"]) == {"warn", "alarm"}
        assert hello["stations"][1]["threshold"] == pytest.approx(hall.stations[1].threshold)
        assert set(hello["recent"]) == {"1"}
        level, state = stream.next("meters")[1]
        assert (level, state) == (pytest.approx(20 * math.log10(8000 / 32768) - 3.01, abs=0.05), "waiting")
        spectra = stream.next("spectra")
        rows = np.frombuffer(base64.b64decode(spectra["data"]), np.uint8).reshape(-1, SPECTRUM_ROWS)
        assert abs(len(rows) - 3 * COLUMNS_PER_SECOND) <= 3
        assert set(rows.argmax(1)) == {round(2031.25 / (RATE / 2 / SPECTRUM_ROWS) - 0.5)}
        assert rows.max(1) / 2 + spectra["floor"] == pytest.approx(20 * math.log10(8000 / 32768) + 1.8, abs=1.0)
        hall.sound(1, tone[:RATE], first=3 * RATE)
        more = stream.next("spectra")
        assert more["first"] == spectra["first"] + len(rows)
        hall.hear(1, 0.75, 0.25)
        window = stream.next("window")
        assert (window["station"], window["score"], window["p"], window["alarm"]) == (1, 0.75, 0.25, 0)
        hall.hear(1, math.nan, math.nan, state=WindowState.IDLE)
        window = stream.next("window")
        assert (window["score"], window["state"]) == (None, "idle")
        hall.hear(1, 9.0, 0.001, 4)
        assert stream.next("event") == {"station": 1, "alarm": 2, "event": 1}


def test_spectra_begin_anew_after_a_gap_and_wait_for_sound(hall):
    spectra = RollingSpectrogram(hall.stations[0])
    assert spectra.update() is None
    hall.sound(0, np.zeros(RATE, np.int16))
    first = spectra.update()
    assert spectra.update() is None
    hall.sound(0, np.zeros(RATE, np.int16), first=200 * RATE)
    later = spectra.update()
    assert later["first"] > first["first"] + 100 * COLUMNS_PER_SECOND
    assert len(spectra.kept()["data"]) == len(later["data"])


def test_clients_that_are_slow_or_go_away_cost_scoring_nothing(hall):
    with hall.served() as address:
        gone = [Listener(address) for _ in range(49)]
        with closing(Listener(address)) as reader:
            reader.next("hello")
            for one in gone[:25]:
                one.close()
            began = time.perf_counter()
            hall.hear(0, 0.5, 0.4, 3000)
            alone = time.perf_counter() - began
            last = hall.at + 1
            while reader.next("window")["at"] != last:  # in order, or, if it was too slow, from `hello` on
                pass
            assert alone < 60
        for one in gone[25:]:
            one.close()
    assert hall.stations[0].keeper.store.events() == []


def test_a_client_that_is_too_slow_keeps_few_messages_and_is_told_anew():
    client = FeedClient(None)
    client.late = False
    for number in range(1000):
        client.put(f"{number}".encode())
    assert client.late
    assert len(client._messages) <= MOST_MESSAGES


def test_the_page_ends_soon_though_browsers_look_on(hall):
    with hall.served() as address:
        listeners = [Listener(address) for _ in range(5)]
        listeners[0].next("hello")
        began = time.monotonic()
    assert time.monotonic() - began < 5
    for one in listeners:
        one.close()
    with pytest.raises(OSError, match="refused"):
        Listener(address)
    hall.hear(0, 0.5, 0.4)  # goes on


# --- in a browser ----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_browser_shows_the_machines_and_marks_an_event_that_the_store_has(hall):
    event = hall.event()
    other = hall.event(1)
    hall.sound(0, np.random.default_rng(0).integers(-3000, 3000, 3 * RATE).astype(np.int16))
    with hall.served(token=TOKEN) as address, browsing() as browser:
        browser.go(address)
        browser.js(f"document.querySelector('input').value = {json.dumps(TOKEN)}")
        with browser.another_page():
            browser.js("document.querySelector('form').requestSubmit()")
        assert browser.js("document.querySelectorAll('.machine').length") == 2
        browser.faults.clear()  # the 401 of the first page
        hall.hear(0, 0.1, 0.4, 20)
        browser.wait("document.querySelector('[data-score]').textContent === '0.1'")
        assert browser.js("document.querySelector('.heading b').textContent") == f"{HOSTILE} id_00"
        hall.hear(0, 9.0, 0.001, 6)
        browser.wait("document.title.startsWith('(alarm)')")
        browser.wait("document.querySelectorAll('.event').length === 3")
        (newest, *_) = hall.store.events(limit=1)
        browser.go(f"{address}events/{newest.id}")
        hall.hear(0, 0.1, 0.9, 6)
        browser.wait("document.readyState === 'complete' && !('open' in document.body.dataset)")

        browser.go(f"{address}machines/0")
        browser.wait("document.querySelectorAll('.uplot').length >= 4")
        browser.wait("windows.length === 32 && spectra.values && trend.at.length")
        browser.look(390, 844, phone=True)
        browser.wait(
            "document.documentElement.scrollWidth === 390 && document.querySelector('.uplot').offsetWidth < 390"
        )

        browser.go(f"{address}events/{event.id}")
        browser.wait("document.querySelector('audio').duration > 1.9")
        assert browser.js("document.querySelector('.frame img').naturalWidth") > 10
        browser.js("document.getElementById('note').focus()")
        browser.type("bearing, n f u a <b>")
        browser.js("document.activeElement.blur()")
        with browser.another_page():
            browser.press("f")
        assert browser.js("document.querySelector('[aria-pressed=true]').value") == "fault"
        with browser.another_page():
            browser.press("a")
        assert not browser.js("Boolean(document.querySelector('[data-key=a]'))")
        with browser.another_page():
            browser.press("k")
        assert browser.js("location.pathname") == f"/events/{other.id}"
        assert browser.faults == []
        assert {urlsplit(one).netloc for one in browser.hosts if one.startswith("http")} == {urlsplit(address).netloc}
    stored = hall.store.event(event.id)
    assert (stored.mark, stored.note) == ("fault", "bearing, n f u a <b>")
    assert stored.acknowledged is not None
    assert hall.store.event(other.id).mark == ""
