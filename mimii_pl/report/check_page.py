"""Check recordings before training: a table on the terminal, `check.csv`, and a page to see and hear what was found."""

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.config import build_data, compose
from mimii_pl.core.console import Console
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import require_writable, write_table, write_text
from mimii_pl.core.foreign import printable
from mimii_pl.core.grouping import group_by
from mimii_pl.core.units import resolve_units
from mimii_pl.dataset._audio import FLOATING, FULL_SCALE, UnreadableClip, raw_blocks, to_int16
from mimii_pl.dataset._channels import split_channel
from mimii_pl.dataset._excluded import checked_cell
from mimii_pl.quality.check_data import Checked, check_data
from mimii_pl.quality.findings import FINDINGS, SEVERITIES, CheckedRecording, Finding, worst_first
from mimii_pl.quality.limits import read_limits
from mimii_pl.report.figures import BLUE, BROWN, GREY, Image, as_image
from mimii_pl.report.levels import mel_levels
from mimii_pl.report.listen import Listening
from mimii_pl.report.sounds import gain_of, sound
from mimii_pl.report.spectrograms import spectrogram
from mimii_pl.report.template import template

if TYPE_CHECKING:
    from mimii_pl.dataset._datamodule import MachineSounds

log = logging.getLogger(__name__)
FAIL_ON = ("error", "warning", "never")
CHECK_COLUMNS = ("severity", "finding", "machine", "id", "file", "found", "advice", "exclude")
ZOOMED = {"clipping": 0.01, "dropouts": 0.04}  # kinds whose place is shown closely -> s around it
ENVELOPE = 600  # points of the picture of a waveform
LISTED = 200  # findings of a kind on the page; check.csv has them all
LEVELS_SHOWN = 20  # machine IDs whose levels are drawn


class Example(NamedTuple):
    """A recording on the page; `sound` and `pictures` are empty if it cannot be read."""

    name: str
    words: str
    pictures: list[Image]
    sound: str


class KindRow(NamedTuple):
    """A kind of finding, of one severity: how many there are, with examples."""

    severity: str
    title: str
    advice: str
    where: str
    first: str
    examples: list[Example]
    lines: list[tuple[str, str, str]]  # empty if the examples are all of them
    more: int


class CheckResult(Listening):
    """Findings, and the page with them, which a notebook shows.

    Args:
        page: HTML.
        checked: recordings and findings.
    """

    def __init__(self, page: str, checked: Checked) -> None:
        super().__init__(page)
        self.recordings, self.findings = checked


def check_recordings(cfg: DictConfig | Sequence[str]) -> CheckResult:
    """Check every recording of a data set; print the findings, the worst first, and write `check.csv` and a page.

    Args:
        cfg: a composed configuration (`conf/command/check.yaml`), or, in a notebook, only overrides: then no file is
            written, and no finding is an error.

    Raises:
        InputError: a wrong option, no recordings, or, after everything is written, findings of the severity `fail_on`.
    """
    if not isinstance(cfg, DictConfig):
        cfg = compose(["output=null", "table=null", "fail_on=never", *cfg], "command/check")
    if cfg.fail_on not in FAIL_ON:
        raise InputError(f"fail_on={cfg.fail_on}: should be one of: {', '.join(FAIL_ON)}")
    limits = read_limits(OmegaConf.to_container(cfg.limits))  # type: ignore[arg-type]
    if str(cfg.output).endswith(".csv"):
        raise InputError(f"output={cfg.output}: is the page; table={cfg.output} is where the CSV goes")
    for option in ("output", "table"):
        if cfg[option] is not None:
            path = Path(cfg[option])
            require_writable(path.parent, f"{option}=<another file>", [path.name])
    cfg = resolve_units(cfg)
    data = build_data(cfg)
    data.prepare_data()
    checked = check_data(data, limits)
    rows = _kind_rows(data, checked, cfg.examples if cfg.output is not None else 0, cfg.seconds)
    title = f"Check of {cfg.choices.dataset}, machine {cfg.machine.name}"
    caption = _caption(checked)
    levels = _levels(checked.recordings)
    page = template("check.html.j2").render(title=title, caption=caption, kinds=rows, levels=levels)
    if cfg.table is not None:
        write_table(Path(cfg.table), (_csv_row(data, checked, one) for one in checked.findings), CHECK_COLUMNS)
    if cfg.output is not None:
        write_text(Path(cfg.output), page)
    _show(rows, title, caption)
    for option in ("table", "output"):
        if cfg[option] is not None:
            print(f"{option}: {printable(Path(cfg[option]).resolve())}")
    _fail(checked.findings, cfg)
    return CheckResult(page, checked)


def _fail(findings: Sequence[Finding], cfg: DictConfig) -> None:
    """Raise InputError for findings that are as bad as `fail_on` says, or worse."""
    if cfg.fail_on == "never":
        return
    failing = SEVERITIES[: SEVERITIES.index(cfg.fail_on) + 1]
    count = {name: sum(one.severity == name for one in findings) for name in failing}
    if any(count.values()):
        words = " and ".join(f"{number} {name}s" for name, number in count.items() if number)
        exclude = f", or leave out what is marked: dataset.exclude={printable(cfg.table)}" if cfg.table else ""
        raise InputError(f"{words} (fail_on={cfg.fail_on}): mend the recordings{exclude}, or set fail_on=never")


def _caption(checked: Checked) -> str:
    recordings, findings = checked
    seconds = sum(one.measures.seconds for one in recordings)
    ids = len({one.clip.label for one in recordings})
    counts = ", ".join(f"{sum(one.severity == name for one in findings)} {name}s" for name in SEVERITIES)
    return f"{len(recordings)} recordings of {ids} machine IDs, {seconds / 60:.1f} minutes: {counts}."


def _csv_row(data: "MachineSounds", checked: Checked, finding: Finding) -> dict[str, Any]:
    machine, _, machine_id = finding.label.partition("/")
    file = "" if finding.row is None else checked_cell(checked.recordings[finding.row].clip.path, data.root)
    kind = FINDINGS[finding.kind]
    return {
        **{"severity": finding.severity, "finding": finding.kind, "machine": machine, "id": machine_id, "file": file},
        **{"found": f"{kind.title}: {finding.text}", "advice": kind.advice},
        "exclude": "yes" if finding.exclude else "no",
    }


# --- what is shown ---------------------------------------------------------------------------------------------------
def _kind_rows(data: "MachineSounds", checked: Checked, examples: int, seconds: float) -> list[KindRow]:
    rows = []
    grouped = group_by(worst_first(checked.findings), lambda one: (one.severity, one.kind))
    for (severity, kind), findings in grouped.items():
        shown = [one for one in findings if one.row is not None][:examples]
        lines = [
            (_name(checked.recordings, one) if one.row is not None else "", one.label, one.text)
            for one in findings[:LISTED]
        ]
        listed = lines if len(shown) < len(findings) else []
        noun = "machine IDs" if findings[0].row is None else "recordings"
        rows.append(
            KindRow(
                severity,
                *FINDINGS[kind],
                f"{len(findings)} {noun if len(findings) > 1 else noun[:-1]}",
                f"{_name(checked.recordings, findings[0])} ({findings[0].text})",
                [example for one in shown for example in _examples(data, checked.recordings, one, seconds)],
                listed,
                max(0, len(findings) - LISTED),
            )
        )
    return rows


def _name(recordings: Sequence[CheckedRecording], finding: Finding) -> str:
    """Return the end of a recording's path, so that a page that is shared names no computer; else the machine ID."""
    if finding.row is None:
        return finding.label
    return printable("/".join(recordings[finding.row].clip.path.parts[-3:]))


def _examples(
    data: "MachineSounds", recordings: Sequence[CheckedRecording], finding: Finding, seconds: float
) -> Iterator[Example]:
    """Yield the recording of a finding, and the one that it is a copy of."""
    yield _example(data, recordings, finding, seconds)
    if finding.other is not None:
        yield _example(data, recordings, finding._replace(row=finding.other, text="the other one"), seconds)


def _example(
    data: "MachineSounds", recordings: Sequence[CheckedRecording], finding: Finding, seconds: float
) -> Example:
    assert finding.row is not None
    recording, name = recordings[finding.row], _name(recordings, finding)
    closely = finding.kind in ZOOMED and finding.at is not None
    start = max(0.0, (finding.at or 0.0) - seconds / 2) if closely else 0.0
    if recording.measures.fault:
        return Example(name, finding.text, [], "")
    try:
        wave = _excerpt(recording, data, start, seconds)
    except UnreadableClip:  # deleted meanwhile
        return Example(name, finding.text, [], "")
    rate = recording.measures.rate
    if closely and finding.at is not None:
        pictures = [_samples(wave, rate, start, finding.at, ZOOMED[finding.kind], f"Waveform of {name}")]
    else:
        pictures = [_envelope(wave, rate, f"Waveform of {name}")]
    if len(wave) > rate // 10 and wave.min() < wave.max():
        pictures.append(spectrogram(mel_levels(wave, rate), alt=f"Spectrogram of {name}"))
    return Example(name, finding.text, pictures, sound(wave, gain_of([wave]), rate))


def _excerpt(recording: CheckedRecording, data: "MachineSounds", start: float, seconds: float) -> np.ndarray:
    """Read a part of a recording, int16 [T], at its own rate.

    Raises:
        UnreadableClip: it cannot be read.
    """
    measures, position = recording.measures, 0
    first, wanted = round(start * measures.rate), round(seconds * measures.rate)
    parts = []
    channel = split_channel(recording.clip.path, data.channel)[1]
    for _, block in raw_blocks(recording.clip.path):
        part = block[max(0, first - position) : max(0, first + wanted - position)]
        if len(part):
            parts.append(part.mean(axis=1) if channel == "mean" else part[:, int(channel)])
        position += len(block)
        if position >= first + wanted:
            break
    wave = np.concatenate(parts)
    scale = data.full_scale if measures.subtype in FLOATING else FULL_SCALE * (1 << 16 if measures.bits > 16 else 1)
    return to_int16(wave / scale)


def _envelope(wave: np.ndarray, rate: int, alt: str) -> Image:
    """Draw a waveform int16 [T] as its envelope."""
    figure, axes = _panel("waveform, full scale 1")
    parts = np.array_split(wave / FULL_SCALE, min(ENVELOPE, len(wave)))
    low, high = [part.min() for part in parts], [part.max() for part in parts]
    axes.fill_between(np.linspace(0, len(wave) / rate, len(parts)), low, high, color=BLUE, linewidth=0.4)
    return as_image(figure, alt, "webp", "image/webp", pil_kwargs={"quality": 80})


def _samples(wave: np.ndarray, rate: int, start: float, at: float, width: float, alt: str) -> Image:
    """Draw the samples around a place; all times in s, `start` is that of the first sample of int16 [T]."""
    figure, axes = _panel(f"waveform around {at:.3f} s, full scale 1")
    first = max(0, round((at - start - width / 4) * rate))
    part = wave[first : first + round(width * rate)] / FULL_SCALE
    axes.plot(start + (first + np.arange(len(part))) / rate, part, ".-", color=BLUE, linewidth=0.9, markersize=2)
    axes.axvline(at, color=BROWN, linestyle="--", linewidth=1)
    return as_image(figure, f"{alt} around {at:.3f} s", "webp", "image/webp", pil_kwargs={"quality": 80})


def _panel(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.8, 1.6), dpi=90)
    figure.subplots_adjust(left=0.1, right=0.96, bottom=0.27, top=0.84)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.set_xlabel("s", fontsize=8)
    return figure, axes


def _levels(recordings: Sequence[CheckedRecording]) -> Image | None:
    """Draw the level of every recording with sound, a line per machine ID."""
    groups = group_by((one for one in recordings if one.has_sound), lambda one: one.clip.label)
    if not groups:
        return None
    shown = list(islice(sorted(groups.items()), LEVELS_SHOWN))
    figure = Figure(figsize=(9, 0.9 + 0.3 * len(shown)), layout="constrained")
    axes = figure.add_subplot(xlabel="level in dB relative to full scale")
    looks = {
        "normal": ("|", BLUE, 0.12),
        "anomaly": ("x", BROWN, -0.12),
        "": ("|", GREY, 0.0),
    }
    for condition, (marker, colour, up) in looks.items():
        places = [
            (one.measures.level, -number + up)
            for number, (_, group) in enumerate(shown)
            for one in group
            if one.clip.condition == condition
        ]
        if places:
            name = condition or "not labelled"
            axes.plot(*zip(*places, strict=True), marker, color=colour, markersize=6, label=f"{name}, {len(places)}")
    axes.set_yticks([-number for number in range(len(shown))], [_plain(label) for label, _ in shown], fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    more = f"; {len(groups) - len(shown)} more machine IDs are not drawn" if len(groups) > len(shown) else ""
    return as_image(figure, f"Levels of {len(recordings)} recordings by machine ID{more}.", "svg", "image/svg+xml")


def _plain(label: str) -> str:
    """Escape what matplotlib would take for a formula."""
    return printable(label)[:40].replace("$", r"\$")


def _show(rows: Sequence[KindRow], title: str, caption: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=printable(title), caption=caption, box=SIMPLE_HEAD, caption_justify="left")
    for head in ("severity", "finding", "in", "the worst", "what to do"):
        table.add_column(head, overflow="fold" if head == "the worst" else "ellipsis")
    for row in rows:
        style = "bold red" if row.severity == "error" else None
        table.add_row(row.severity, row.title, row.where, printable(row.first), row.advice, style=style)
    if not rows:
        table.add_row("-", "nothing found", "", "", "")
    Console().print(table)
