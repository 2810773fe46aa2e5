"""Ways out against a real broker and a real web server: away for a while, then everything in order, once."""

import asyncio
import json
import logging
import math
import socket
import sqlite3
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from mimii_pl.core.errors import InputError
from mimii_pl.live.alarm import NormalScores
from mimii_pl.live.alarm.simple import Simple
from mimii_pl.live.events import EventStore
from mimii_pl.live.keeper import AlarmKeeper
from mimii_pl.live.output import AlarmMessage, Delivery, _outbox, build_outputs
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.windows import ScoredWindow, WindowState

amqtt = pytest.importorskip("amqtt.broker")
PATIENCE = 20.0  # s
OF_APPRISE = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # its mail, until 3.13


def until(true) -> None:
    """Wait until something is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def web_server(port: int, got: list, statuses: list[int]):
    """Serve a webhook, which answers with these statuses first."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = statuses.pop(0) if statuses else 204
            if status == 204:
                told = body.get("change") or body["title"]  # of ours, or of Apprise
                got.append((told, self.headers["Idempotency-Key"], self.headers["Authorization"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def mqtt_broker(port: int):
    """Run a broker in a thread."""
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start():
        broker = amqtt.Broker(
            {"listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}, "plugins": plugins}
        )
        await broker.start()
        return broker

    broker = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(broker.shutdown(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Heard:
    """What a subscriber of a broker hears, by topic."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.by_topic: dict[str, list[str]] = {}
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = lambda _c, _d, message: self.by_topic.setdefault(message.topic, []).append(
            message.payload.decode()
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def store(tmp_path):
    store = EventStore(tmp_path)
    yield store
    store.close()


def keeper_of(store: EventStore, delivery: Delivery, figures=None, machine: str = "fan", **options) -> AlarmKeeper:
    options = {"warn": 0.3, "alarm": 0.05, "clear": 1, "warn_per_month": 9e4, "false_per_month": 9e4, **options}
    rule = Simple(**options).fit(NormalScores(np.arange(99.0), 10.0), 10.0)
    return AlarmKeeper(
        store, rule, delivery, machine=machine, machine_id="id_00", rate=16000, model="v1", figures=figures
    )


def hear(keeper: AlarmKeeper, *p_values: float, first: int = 0) -> None:
    for number, p in enumerate(p_values, first):
        score = math.nan if math.isnan(p) else 1 - p
        keeper.hear(
            ScoredWindow(
                number * 160_000,
                (number + 1) * 160_000,
                1e9 + 10 * number,
                WindowState.IDLE if math.isnan(p) else WindowState.RUNNING,
                *(score, p, -30.0, 100.0, 200.0),
            )
        )


def test_a_webhook_that_was_away_gets_everything_in_order_once(store, caplog):
    port, got = free_port(), []
    address = f"http://127.0.0.1:{port}/hook/secret"
    outputs = build_outputs(screen=False, webhook=address, webhook_headers={"Authorization": "Bearer x"})
    delivery = Delivery(store, outputs, longest_pause=0.1)
    delivery.start()
    hear(keeper_of(store, delivery), 0.2, 0.01, 0.9, 0.01, 0.9)
    until(lambda: "does not answer" in caplog.text)
    with web_server(port, got, [500, 302, 401]):
        until(lambda: len(got) == 5)
        until(lambda: delivery.outbox.waiting(outputs[0].name) == 0)
    delivery.stop()
    assert [change for change, *_ in got] == ["begin", "level", "end", "begin", "end"]
    assert len({key for _, key, _ in got}) == 5
    assert {token for *_, token in got} == {"Bearer x"}
    assert "secret" not in caplog.text
    assert any("answers again" in line.line for line in store.health())


def test_a_message_that_a_server_refuses_holds_up_no_other(store, caplog):
    port, got = free_port(), []
    with web_server(port, got, [422]):
        delivery = Delivery(store, build_outputs(screen=False, webhook=f"http://127.0.0.1:{port}/"), longest_pause=0.1)
        delivery.start()
        hear(keeper_of(store, delivery), 0.01, 0.9)
        until(lambda: len(got) == 1)
        delivery.stop()
    assert got[0][0] == "end"
    assert "status 422" in caplog.text


def test_messages_outlive_the_process_and_a_lost_confirmation_repeats_the_key(store):
    port, got = free_port(), []
    address = f"http://127.0.0.1:{port}/"
    hear(keeper_of(store, Delivery(store, build_outputs(screen=False, webhook=address))), 0.01, 0.9)  # never started
    with web_server(port, got, []):
        first = Delivery(store, build_outputs(screen=False, webhook=address))
        queued = first.outbox.first(first.outputs[0].name)
        first.outputs[0].send(queued.message)  # and the process ends before it is deleted
        first.stop()
        second = Delivery(store, build_outputs(screen=False, webhook=address))
        second.start()
        until(lambda: len(got) == 3)
        second.stop()
    assert [change for change, *_ in got] == ["begin", "begin", "end"]
    assert got[0][1] == got[1][1] != got[2][1]


def test_a_broker_that_was_away_gets_everything_in_order_and_tells_of_the_end(store):
    port = free_port()
    delivery = Delivery(store, build_outputs(screen=False, mqtt=f"mqtt://127.0.0.1:{port}/plant"), longest_pause=0.2)
    delivery.start()
    keeper = keeper_of(store, delivery, machine="line 1/#")
    hear(keeper, 0.01, 0.9)
    (client,) = delivery.outputs[0].clients.values()
    with mqtt_broker(port):
        heard = Heard(port)
        until(lambda: client.is_connected())
        hear(keeper, 0.2, 0.9, math.nan, first=2)
        until(lambda: len(heard.by_topic.get(delivery.outputs[0].topic("line 1/#", "id_00", "alarm"), [])) == 4)
        topic = delivery.outputs[0].topic("line 1/#", "id_00", "")
        until(lambda: len(heard.by_topic.get(f"{topic}state", [])) == 3)
        delivery.stop()
        until(lambda: heard.by_topic[f"{topic}status"][-1] == "offline")
        heard.close()
    assert topic.count("/") == 3
    assert not set("+# ") & set(topic)
    messages = [AlarmMessage.from_json(text) for text in heard.by_topic[f"{topic}alarm"]]
    assert [(message.change, message.level) for message in messages] == [
        *(("begin", "alarm"), ("end", "normal"), ("begin", "warn"), ("end", "normal"))
    ]
    assert heard.by_topic[f"{topic}status"][0] == "online"
    assert heard.by_topic[f"{topic}score"] == ["0.8", "0.1"]
    assert heard.by_topic[f"{topic}state"] == ["running", "running", "idle"]
    entities = {name: json.loads(texts[-1]) for name, texts in heard.by_topic.items() if name.endswith("/config")}
    assert sorted(name.split("/")[1] for name in entities) == ["binary_sensor", "sensor", "sensor"]
    assert {entity["availability_topic"] for entity in entities.values()} == {f"{topic}status"}
    assert {entity["state_topic"] for entity in entities.values()} <= heard.by_topic.keys()


def test_a_connection_that_breaks_leaves_the_last_will(store):
    port = free_port()
    output = build_outputs(screen=False, mqtt=f"mqtt://127.0.0.1:{port}")[0]
    with mqtt_broker(port):
        heard = Heard(port)
        output.watch("fan", "id_00", "v1")
        until(lambda: heard.by_topic.get("mimii/fan/id_00/status") == ["online"])
        (client,) = output.clients.values()
        client.loop_stop()
        client.socket().shutdown(socket.SHUT_RDWR)
        until(lambda: heard.by_topic["mimii/fan/id_00/status"] == ["online", "offline"])
        heard.close()
    output.close()


def test_the_queue_is_bounded_and_what_is_dropped_is_told(store, monkeypatch):
    monkeypatch.setattr(_outbox, "MOST_QUEUED", 3)
    delivery = Delivery(store, build_outputs(screen=True))
    hear(keeper_of(store, delivery), *[0.01, 0.9] * 3)
    assert delivery.outbox.waiting(delivery.outputs[0].name) == 3
    assert sum("were dropped" in line.line for line in store.health()) == 3
    Delivery(store, [])
    assert "no longer configured: 3 messages" in store.health()[0].line


def test_the_screen_shows_a_line_per_change(store, caplog):
    caplog.set_level(logging.INFO)
    delivery = Delivery(store, build_outputs())
    delivery.start()
    hear(keeper_of(store, delivery, machine="fan\x1b[31m"), 0.01, 0.9)
    until(lambda: "is normal again" in caplog.text)
    delivery.stop()
    assert "id_00: ALARM, p at or below 0.05 in 1 of 1 windows" in caplog.text
    assert "\x1b[31m" not in caplog.text


def test_a_full_disk_costs_no_event(store, monkeypatch, caplog):
    delivery = Delivery(store, build_outputs())
    keeper = keeper_of(store, delivery)
    hear(keeper, 0.9)
    original = store.together
    monkeypatch.setattr(store, "together", lambda **_: (_ for _ in ()).throw(sqlite3.OperationalError("disk is full")))
    hear(keeper, 0.01, 0.01, 0.9, 0.9, first=1)
    assert store.events() == []
    assert keeper.unstored == 4
    assert "ALARM, not stored" in caplog.text
    monkeypatch.setattr(store, "together", original)
    hear(keeper, 0.9, first=5)
    assert keeper.unstored == 0
    (event,) = store.events()
    assert (event.first, event.open, event.end - event.start) == (160_000, False, 20.0)
    assert delivery.outbox.waiting("screen:" + delivery.outputs[0].name.split(":")[1]) == 2
    assert "Windows wait in memory" in caplog.text


def test_an_acknowledgement_reaches_a_latched_rule_and_the_outputs(store):
    delivery = Delivery(store, build_outputs())
    keeper = keeper_of(store, delivery, latch=True)
    hear(keeper, 0.01, 0.9, 0.9)
    assert keeper.event.open
    store.acknowledge(keeper.event.id)
    hear(keeper, 0.9, first=3)
    assert keeper.event is None
    name = delivery.outputs[0].name
    changes = [json.loads(body)["change"] for (body,) in store.database.read("SELECT body FROM outbox ORDER BY id")]
    assert (changes, delivery.outbox.waiting(name)) == (["begin", "acknowledge", "end"], 3)


def test_figures_are_what_prometheus_reads(store):
    figures = MonitorFigures()
    delivery = Delivery(store, build_outputs())
    figures.count_queues(delivery)
    keeper = keeper_of(store, delivery, figures)
    hear(keeper, 0.01, 0.9, math.nan)
    text = figures.text().decode()
    assert 'mimii_windows_total{machine="fan",machine_id="id_00",state="running"} 2.0' in text
    assert f'mimii_queued_messages{{output="{delivery.outputs[0].name}"}} 2.0' in text
    assert 'mimii_state{machine="fan",machine_id="id_00",state="idle"} 1.0' in text
    assert 'mimii_alarms_total{level="alarm",machine="fan",machine_id="id_00"} 1.0' in text
    assert 'mimii_score{machine="fan",machine_id="id_00"} 0.' in text


@OF_APPRISE
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"webhook": "ftp://host/"}, "output.webhook=ftp://host/"),
        ({"mqtt": "mqtt://host:port"}, "output.mqtt=mqtt://host:port"),
        ({"mqtt": "mqtt://host/a/+"}, "output.mqtt"),
        ({"apprise": "nothing://secret"}, "nothing:// is no address"),
        ({"webhook": ["http://host/a", "http://host/a"]}, "given twice"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(options, named):
    with pytest.raises(InputError, match=named) as error:
        build_outputs(**options)
    assert "secret" not in str(error.value)


@OF_APPRISE
def test_apprise_delivers_to_a_real_server(store):
    port, got = free_port(), []
    with web_server(port, got, []):
        delivery = Delivery(store, build_outputs(screen=False, apprise=[f"json://127.0.0.1:{port}"]), longest_pause=0.1)
        delivery.start()
        hear(keeper_of(store, delivery), 0.01, 0.9)
        until(lambda: len(got) == 2)
        delivery.stop()
    assert [title for title, *_ in got] == ["fan id_00: ALARM", "fan id_00: is normal again"]
