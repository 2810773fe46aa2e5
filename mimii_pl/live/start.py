"""The commands `mimii monitor` and `mimii devices`."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import printable
from mimii_pl.core.run_lock import locked
from mimii_pl.deploy.serving.serve import FIXED, REGISTERED, model_place
from mimii_pl.deploy.serving.served import check_engine, open_served
from mimii_pl.live.alarm import AlarmRule, normal_scores
from mimii_pl.live.events import EventStore
from mimii_pl.live.keeper import AlarmKeeper
from mimii_pl.live.model import LiveModel
from mimii_pl.live.monitor import Monitor, stopped_by_signals, watch_models
from mimii_pl.live.output import Delivery, build_outputs
from mimii_pl.live.output.prometheus import MonitorFigures
from mimii_pl.live.page import check_page, serve_page
from mimii_pl.live.plant import StationOptions, read_plant
from mimii_pl.live.position import resume_position
from mimii_pl.live.source import choose_source
from mimii_pl.live.states import check_state_rule
from mimii_pl.live.station import Station, StationSetup
from mimii_pl.live.terminal import print_summary, shown

SHORTEST_HOP = 0.01  # s
log = logging.getLogger(__name__)


def monitor(
    *,
    run: str,
    source: str | None,
    machine_id: str | None = None,
    name: str | None = None,
    plant: str | None = None,
    engine: str = "auto",
    hop: float | None = None,
    rate: int | None = None,
    channels: int = 1,
    speed: str = "real",
    polling: bool = False,
    state: str = "auto",
    idle_level: float | None = None,
    alarm: Mapping[str, Any],
    output: Mapping[str, Any],
    events: str = "events",
    max_mb: float = 1000.0,
    metrics: int | None = None,
    page: Mapping[str, Any] | None = None,
    watch: float = 60,
    device: str = "auto",
    trust: Collection[str] = (),
    tracking_uri: str | None = None,
) -> None:
    """Listen to machines until their sources end, or SIGTERM or Ctrl-C.

    Args:
        run: a run directory, `latest`, a registered model, or the folder of an export.
        source: of the sound; not with `plant`.
        machine_id: that the machine is compared with.
        name: of the machine; None: its type.
        plant: file with several stations; None: there is one.
        engine: `torch`, `onnx`, or `auto`: what `run` is.
        hop: s from the start of a window to that of the next; None: half a clip.
        rate, channels: of raw samples on the standard input.
        speed: of a recording: `real` time, or `max`.
        polling: look at all files of a folder every second.
        state: how windows are told in which the machine stands still: `auto`, `level`, or `none`.
        idle_level: dB of full scale below which it does, for `level`.
        alarm: node of the rule.
        output: options of `build_outputs`.
        events: folder of the events.
        max_mb: MB of their sound.
        metrics: port of this computer for Prometheus; None: none.
        page: host, port and token of the page, as `check_page` has them; None: there is none.
        watch: s between looks at the alias of a registered model; 0: none.
        device: of torch.
        trust: packages, besides this one, whose classes the run may name.
        tracking_uri: store with the registered models.

    Raises:
        InputError: an option is wrong, a model cannot be loaded, or a source can never be opened.
    """
    check_engine(engine, watch)
    if hop is not None and not hop >= SHORTEST_HOP:
        raise InputError(f"hop={hop:g}: should be {SHORTEST_HOP:g} s or more, or null (half a clip)")
    if not events:
        raise InputError("events= is empty: name a folder")
    one = StationOptions(name, run, source or "", machine_id, hop, rate, channels, state, idle_level, polling)
    if plant is None and not source:
        raise InputError("source=null: give a source, such as mic:0 (`mimii devices` lists them), or a plant=<file>")
    stations = [one] if plant is None else read_plant(Path(plant), one)
    page = page or {}
    check_page(**page)
    opened: dict[tuple[str, float | None], LiveModel] = {}
    open_it = partial(open_served, engine=engine, device=device, trust=trust)
    for options in stations:
        key = options.run, options.hop
        if key not in opened:
            place = model_place(options.run, tracking_uri)
            opened[key] = LiveModel.of(open_it(options.run, place, hop=options.hop))
    outputs = build_outputs(**output)
    store, held = EventStore(Path(events), max_mb), ExitStack()
    try:
        held.enter_context(locked(store.folder))
        delivery, figures, work = Delivery(store, outputs), MonitorFigures(), threading.Event()
        builder = StationBuilder(store, delivery, figures, alarm, speed)
        made = [builder.station(options, opened[options.run, options.hop], work) for options in stations]
        _refuse_same(made)
        one_for_all = Monitor(made, store, delivery, figures, work)
        _serve_metrics(figures, metrics)
        if watch and any(
            options.run.startswith(REGISTERED) and not FIXED.fullmatch(options.run) for options in stations
        ):
            runs = dict(zip(made, stations, strict=True))

            def newest(station: Station) -> Callable[[], None] | None:
                options = runs[station]
                if not options.run.startswith(REGISTERED) or FIXED.fullmatch(options.run):
                    return None
                place = model_place(options.run, tracking_uri)
                if place == station.model.served.place:
                    return None
                model = LiveModel.of(open_it(options.run, place, hop=options.hop))
                return partial(builder.replace, station, model)

            threading.Thread(target=watch_models, args=(one_for_all, newest, watch), daemon=True).start()
        with serve_page(made, store.folder, figures, **page), stopped_by_signals(one_for_all), shown(one_for_all):
            one_for_all.run()
        print_summary(one_for_all)
        if unstored := sum(station.keeper.unstored for station in made):
            raise InputError(f"{store.folder} took no more: {unstored} windows, and what came of them, are lost")
    finally:
        held.close()
        store.close()


class StationBuilder:
    """Builds the stations of a monitor.

    Args:
        store, delivery, figures: of the monitor.
        alarm: node of the rule that each station has for itself.
        speed: of recordings.
    """

    def __init__(
        self, store: EventStore, delivery: Delivery, figures: MonitorFigures, alarm: Mapping[str, Any], speed: str
    ) -> None:
        self.store, self.delivery, self.figures, self.speed = store, delivery, figures, speed
        self.alarm = OmegaConf.create(dict(alarm))

    def station(self, options: StationOptions, model: LiveModel, work: threading.Event) -> Station:
        """Build a station."""
        check_state_rule(options.state, options.idle_level)
        number = model.served.id_number(options.machine_id)
        type_, _, id_ = model.label(number).partition("/")
        machine, machine_id = options.name or type_, id_ if number >= 0 else options.machine_id or ""
        if not options.source:
            raise InputError(f"plant={printable(machine)}: it has no source")
        setup = StationSetup(machine, machine_id, number, model.served.windows.hop, options.state, options.idle_level)
        choose = partial(
            choose_source,
            options.source,
            station=f"{machine}/{machine_id}",
            database=self.store.database,
            channel=model.channel,
            full_scale=model.full_scale,
            rate=options.rate,
            channels=options.channels,
            speed=self.speed,
            polling=options.polling,
        )
        position = resume_position(self.store, machine, machine_id, choose(base=0).identity)
        keeper = self._keeper(setup, model)
        source = choose(base=int(position.get("base", 0)))
        if model.usual(number) is None:
            log.warning(
                "%s: %s is of a version that did not keep the levels of its training clips: neither another microphone "
                "nor a machine that stands still can be told. Train it again, or set state=level idle_level=-60",
                *(printable(machine), model.served.name),
            )
        return Station(setup, source, model, keeper, self.store, work, position)

    def replace(self, station: Station, model: LiveModel) -> None:
        """Put a model in the place of a station's."""
        before = station.model.served.fingerprint
        station.use(model, self._keeper(station.setup, model))
        log.warning("%s: %s takes the place of %s", station.setup.machine, model.served.fingerprint, before)

    def _keeper(self, setup: StationSetup, model: LiveModel) -> AlarmKeeper:
        scorer = model.served.scorer
        assert scorer.thresholds is not None
        rule: AlarmRule = build(self.alarm)
        normal = normal_scores(scorer.thresholds, model.label(setup.id_number), scorer.seconds, model.held_out)
        rule.fit(normal, setup.hop)
        return AlarmKeeper(
            self.store,
            rule,
            self.delivery,
            machine=setup.machine,
            machine_id=setup.machine_id,
            rate=scorer.sample_rate,
            model=model.served.fingerprint,
            figures=self.figures,
        )


def _refuse_same(stations: list[Station]) -> None:
    names = Counter((station.setup.machine, station.setup.machine_id) for station in stations)
    for (machine, machine_id), count in names.items():
        if count > 1:
            raise InputError(f"plant: {count} stations are named {machine} {machine_id}: give each a name of its own")
    if sum(station.source.name == "-" for station in stations) > 1:
        raise InputError("plant: one station alone can hear the standard input, source=-")


def _serve_metrics(figures: MonitorFigures, port: int | None) -> None:
    if port is None:
        return
    from prometheus_client import start_http_server

    try:
        start_http_server(port, "127.0.0.1", figures.registry)
    except (OSError, OverflowError) as error:
        raise InputError(f"metrics={port} cannot be listened on: {error}. Name another port") from None


def devices(*, channels: int = 1) -> None:
    """Print the inputs of the sound cards, as `source=mic:` takes them.

    Args:
        channels: inputs with fewer are left out.

    Raises:
        InputError: sounddevice or PortAudio is missing.
    """
    from rich.table import Table

    from mimii_pl.core.console import Console
    from mimii_pl.live.source.microphone import audio_inputs

    found = [one for one in audio_inputs() if one.channels >= channels]
    if not found:
        print("PortAudio finds no input: is a microphone connected, and may this user use it (group audio)?")
        return
    table = Table("number", "name", "system", "channels", "Hz", box=None)
    for one in found:
        table.add_row(str(one.number), printable(one.name), one.host, str(one.channels), str(one.rate))
    Console().print(table)
    print("\nmimii monitor run=latest source=mic:<number or name>")
