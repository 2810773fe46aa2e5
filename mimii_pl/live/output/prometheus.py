"""Figures of a monitor, for Prometheus."""

import math
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mimii_pl.live.output._delivery import Delivery
from mimii_pl.live.windows import AlarmChange, AlarmLevel, ScoredWindow, WindowState

MACHINE = ("machine", "machine_id")
LATENCIES = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80)  # s


class MonitorFigures:
    """Counts what a monitor hears.

    Attributes:
        registry: of its collectors.
        dropped: samples that were lost, by machine.
        latency: from the end of a window to its score in s.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._score = Gauge("mimii_score", "Anomaly score of the latest window", MACHINE, registry=registry)
        self._p_value = Gauge("mimii_p_value", "P-value of the latest window", MACHINE, registry=registry)
        self._level = Gauge("mimii_sound_level_dbfs", "Level of the latest window", MACHINE, registry=registry)
        self._alarm = Gauge("mimii_alarm_level", "0 normal, 1 warn, 2 alarm", MACHINE, registry=registry)
        self._state = Gauge("mimii_state", "1: the state of the latest window", (*MACHINE, "state"), registry=registry)
        self._windows = Counter("mimii_windows", "Windows by their state", (*MACHINE, "state"), registry=registry)
        self._alarms = Counter("mimii_alarms", "Levels that were raised", (*MACHINE, "level"), registry=registry)
        self._model = Gauge("mimii_monitor_model", "The model in use", (*MACHINE, "model"), registry=registry)
        self.dropped = Counter("mimii_dropped_samples", "Samples that were lost", MACHINE, registry=registry)
        told = "From the end of a window to its score"
        self.latency = Histogram("mimii_latency_seconds", told, MACHINE, buckets=LATENCIES, registry=registry)
        self._queued = Gauge("mimii_queued_messages", "Messages that wait", ["output"], registry=registry)

    def count_queues(self, delivery: Delivery) -> None:
        """Tell from now on how many messages of each output wait."""
        for output in delivery.outputs:
            self._queued.labels(output.name).set_function(partial(delivery.outbox.waiting, output.name))

    def use(self, machine: str, machine_id: str, model: str) -> None:
        """Name the model in use."""
        for other in [labels for labels in self._models() if labels[:2] == (machine, machine_id)]:
            self._model.remove(*other)
        self._model.labels(machine, machine_id, model).set(1)

    def _models(self) -> list[tuple[str, str, str]]:
        names = (*MACHINE, "model")
        samples = [sample.labels for metric in self._model.collect() for sample in metric.samples]
        return [tuple(labels[name] for name in names) for labels in samples]  # type: ignore[misc]

    def hear(
        self, machine: str, machine_id: str, window: ScoredWindow, level: AlarmLevel, change: AlarmChange | None
    ) -> None:
        """Count a window, its level of alarm, and the change that it caused."""
        name = (machine, machine_id)
        if not math.isnan(window.score):
            self._score.labels(*name).set(window.score)
            self._p_value.labels(*name).set(window.p_value)
        self._level.labels(*name).set(window.level)
        self._alarm.labels(*name).set(level)
        for state in WindowState:
            self._state.labels(*name, state.value).set(state == window.state)
        self._windows.labels(*name, window.state.value).inc()
        if change and change.level > AlarmLevel.NORMAL:
            self._alarms.labels(*name, change.level.name.lower()).inc()

    def text(self) -> bytes:
        """Return the figures as Prometheus reads them."""
        return generate_latest(self.registry)
