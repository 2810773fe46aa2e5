"""Scores, states and alarms over MQTT, with discovery by Home Assistant."""

import hashlib
import json
import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mimii_pl.core.errors import InputError
from mimii_pl.live.output._message import AlarmMessage
from mimii_pl.live.output._output import AlarmOutput, DeliveryError
from mimii_pl.live.windows import AlarmLevel, ScoredWindow

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PORTS = {"mqtt": 1883, "mqtts": 8883}
CONFIRMED = 10.0  # s for the broker to confirm a message
KEEP_ALIVE = 30  # s; a broker tells the last will after half as much again
LONGEST_RECONNECT = 60  # s between tries


class Mqtt(AlarmOutput):
    """Publishes to `<prefix>/<machine>/<id>/{score,state,alarm,status}`, each retained.

    - score: of the latest window that was judged, a number; state: of the latest window.
    - alarm: the latest change as JSON (`AlarmMessage`), QoS 1, which is queued on the disk until the broker has it.
    - status: `online`, or by the last will `offline`.

    Each machine has a connection of its own, since a connection has one last will.

    Args:
        url: `mqtt://user:password@host:port/prefix`, or mqtts (TLS, with the system's certificates); prefix: `mimii`.
        discovery: prefix of the topics that Home Assistant finds its entities by; empty: none are published.
    """

    def __init__(self, url: str, discovery: str = "homeassistant") -> None:
        parts = urlsplit(url)
        try:
            port = parts.port or PORTS.get(parts.scheme)
        except ValueError:
            port = None
        prefix = unquote(parts.path).strip("/") or "mimii"
        if parts.scheme not in PORTS or not parts.hostname or port is None or re.search(r"[+#\0]", prefix + discovery):
            raise InputError(f"output.mqtt={url}: should be an address such as mqtt://user:password@host:1883/mimii")
        super().__init__("mqtt", url, f"the broker at {parts.hostname}")
        self.parts, self.port, self.prefix, self.discovery = parts, port, prefix, discovery.strip("/")
        self.clients: dict[tuple[str, str], Client] = {}

    def topic(self, machine: str, machine_id: str, name: str) -> str:
        """Return a topic of a machine."""
        return f"{self.prefix}/{topic_part(machine)}/{topic_part(machine_id)}/{name}"

    def watch(self, machine: str, machine_id: str, model: str) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        status = self.topic(machine, machine_id, "status")
        client = Client(CallbackAPIVersion.VERSION2)
        client.will_set(status, "offline", qos=1, retain=True)
        if self.parts.username:
            password = unquote(self.parts.password) if self.parts.password is not None else None
            client.username_pw_set(unquote(self.parts.username), password)
        if self.parts.scheme == "mqtts":
            client.tls_set()

        def announce(connected: "Client", _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                return
            connected.publish(status, "online", qos=1, retain=True)
            for topic, entity in self._entities(machine, machine_id, model).items():
                connected.publish(topic, json.dumps(entity), qos=1, retain=True)

        client.on_connect = announce
        client.reconnect_delay_set(1, LONGEST_RECONNECT)
        client.connect_async(self.parts.hostname or "", self.port, KEEP_ALIVE)
        client.loop_start()
        self.clients[machine, machine_id] = client

    def send(self, message: AlarmMessage) -> None:
        if (message.machine, message.machine_id) not in self.clients:  # left by an earlier process
            self.watch(message.machine, message.machine_id, message.model)
        client = self.clients[message.machine, message.machine_id]
        if not client.is_connected():
            raise DeliveryError("there is no connection")
        topic = self.topic(message.machine, message.machine_id, "alarm")
        published = client.publish(topic, message.to_json(), qos=1, retain=True)
        try:
            published.wait_for_publish(CONFIRMED)
        except (RuntimeError, ValueError) as error:
            raise DeliveryError(str(error)) from None
        if not published.is_published():
            raise DeliveryError(f"it did not confirm within {CONFIRMED:g} s")

    def show(self, machine: str, machine_id: str, window: ScoredWindow, level: AlarmLevel) -> None:
        client = self.clients.get((machine, machine_id))
        if client is None or not client.is_connected():
            return
        client.publish(self.topic(machine, machine_id, "state"), window.state.value, retain=True)
        if not math.isnan(window.score):
            client.publish(self.topic(machine, machine_id, "score"), f"{window.score:.6g}", retain=True)

    def close(self) -> None:
        for (machine, machine_id), client in self.clients.items():
            if client.is_connected():
                gone = client.publish(self.topic(machine, machine_id, "status"), "offline", qos=1, retain=True)
                with suppress(RuntimeError, ValueError):  # the connection has ended: the last will says it
                    gone.wait_for_publish(1.0)
            client.disconnect()
            client.loop_stop()
        self.clients.clear()

    def _entities(self, machine: str, machine_id: str, model: str) -> dict[str, dict[str, Any]]:
        """Return topics and descriptions of the entities of a machine in Home Assistant."""
        if not self.discovery:
            return {}
        name = re.sub(r"[^a-zA-Z0-9_-]", "_", f"{self.prefix}_{topic_part(machine)}_{topic_part(machine_id)}")
        device = {"identifiers": [name], "name": f"{machine} {machine_id}", "model": "mimii_pl", "sw_version": model}
        alarm = self.topic(machine, machine_id, "alarm")
        own = {
            "sensor/score": {"name": "Anomaly score", "state_class": "measurement"},
            "sensor/state": {"name": "State"},
            "binary_sensor/alarm": {
                "name": "Alarm",
                "device_class": "problem",
                "state_topic": alarm,
                "value_template": "{{ 'ON' if value_json.level == 'alarm' else 'OFF' }}",
                "json_attributes_topic": alarm,
            },
        }
        entities = {}
        for key, facts in own.items():
            component, _, entity = key.partition("/")
            entities[f"{self.discovery}/{component}/{name}/{entity}/config"] = {
                "state_topic": self.topic(machine, machine_id, entity),
                "availability_topic": self.topic(machine, machine_id, "status"),
                "unique_id": f"{name}_{entity}",
                "device": device,
                **facts,
            }
        return entities


def topic_part(name: str) -> str:
    """Spell a name as a part of a topic: two names never become one.

    >>> topic_part("fan"), topic_part("line 1/#")
    ('fan', 'line_1__-b3e472')
    """
    plain = re.sub(r"[^\w.-]", "_", name)
    return plain if plain == name and name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
