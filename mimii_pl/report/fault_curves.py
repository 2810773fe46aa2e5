"""Curves of the AUC over the severity of a fault, a small plot per fault."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mimii_pl.core.grouping import group_by
from mimii_pl.report.figures import Image, as_image
from mimii_pl.report.tables import number
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS
from mimii_pl.scoring.sensitivity import NOTICED, Noticed, curves, quantity

LINES = 6  # detectors that can be told apart
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#08519c", "linestyle": "-", "marker": "o"},
    {"color": "#8c3a00", "linestyle": "--", "marker": "s"},
    {"color": "#3f7f3f", "linestyle": "-.", "marker": "^"},
    {"color": "#6a3d9a", "linestyle": ":", "marker": "D"},
    {"color": "#000000", "linestyle": "-", "marker": "x"},
    {"color": "#777777", "linestyle": "--", "marker": "+"},
)


def fault_curves(detectors: Mapping[str, Sequence[Noticed]]) -> Image | None:
    """Draw a line per detector and a plot per fault, the strongest severity on the left; None without any.

    Args:
        detectors: name -> what it notices. The first `LINES` are drawn.
    """
    drawn = {name: curves(noticed) for name, noticed in list(detectors.items())[:LINES] if noticed}
    faults = [fault for fault in PSEUDO_FAULTS if any(fault.name in lines for lines in drawn.values())]
    if not faults:
        return None
    rows = math.ceil(len(faults) / 4)
    height = 2.1 * rows + 0.5  # in; places are given, since finding them takes as long as all other figures
    figure = Figure(figsize=(9.6, height))
    figure.subplots_adjust(left=0.04, right=0.99, bottom=0.3 / height, top=1 - 0.65 / height, wspace=0.2, hspace=0.45)
    for place, fault in enumerate(faults, start=1):
        axes = figure.add_subplot(rows, 4, place, ylim=(0.4, 1.02))
        axes.set_title(fault.name, fontsize=10)
        axes.axhline(NOTICED, color="#999999", linewidth=0.8)
        axes.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
        for (name, lines), look in zip(drawn.items(), LOOKS, strict=False):
            known = dict(
                zip(*lines.get(fault.name, ([], [])), strict=True)
            )  # severities of other versions are left out
            aucs = [known.get(severity, math.nan) for severity in fault.severities]
            axes.plot(aucs, linewidth=1.4, markersize=4, label=name if place == 1 else "_", **look)
        ticks = range(0, len(fault.severities), 2)
        axes.set_xticks(ticks, [quantity(fault.severities[tick], fault.unit) for tick in ticks], fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    words = " ".join(f"{name}: {_words(lines)}." for name, lines in drawn.items())
    figure.legend(loc="upper left", ncols=3, frameon=False, fontsize=9)
    alt = f"AUC of faults by severity, strongest first. {words}"
    return as_image(figure, alt, "svg", "image/svg+xml", metadata={"Date": None})


def _words(lines: Mapping[str, tuple[list[float], list[float]]]) -> str:
    return ", ".join(f"{name} from {number(aucs[0])} to {number(aucs[-1])}" for name, (_, aucs) in lines.items())


def machine_id_lines(noticed: Sequence[Noticed]) -> dict[str, Sequence[Noticed]]:
    """Split what a run notices by machine ID, after the mean over all."""
    own = group_by(noticed, lambda entry: entry.machine_id)
    return {"mean over machine IDs": noticed, **own} if len(own) > 1 else dict(own)
