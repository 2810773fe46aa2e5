"""Curves of the AUC over the severity of a fault, a small plot per fault."""

import math
from collections.abc import Mapping, Sequence

from mimii_pl.core.grouping import group_by
from mimii_pl.report.figures import LOOKS, Image, Panel, draw_panels
from mimii_pl.report.tables import number
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS
from mimii_pl.scoring.sensitivity import NOTICED, Noticed, curves, quantity


def fault_curves(detectors: Mapping[str, Sequence[Noticed]]) -> Image | None:
    """Draw a line per detector and a plot per fault, as `fault_panels`; None without any."""
    panels, alt = fault_panels(detectors)
    return draw_panels(panels, alt) if panels else None


def fault_panels(detectors: Mapping[str, Sequence[Noticed]]) -> tuple[list[Panel], str]:
    """Collect what `draw_panels` draws: a panel per fault, the strongest severity on the left, and alternative text.

    Args:
        detectors: name -> what it notices. As many are drawn as there are `LOOKS`.
    """
    drawn = {name: curves(noticed) for name, noticed in list(detectors.items())[: len(LOOKS)] if noticed}
    panels = []
    for fault in PSEUDO_FAULTS:
        if any(fault.name in lines for lines in drawn.values()):
            lines = {}
            for name, own in drawn.items():
                known = dict(zip(*own.get(fault.name, ([], [])), strict=True))  # those of other versions are left out
                lines[name] = [known.get(severity, math.nan) for severity in fault.severities]
            marks = [quantity(severity, fault.unit) for severity in fault.severities]
            panels.append(Panel(fault.name, marks, lines, (NOTICED, 0.5)))
    words = " ".join(f"{name}: {_words(lines)}." for name, lines in drawn.items())
    return panels, f"AUC of faults by severity, strongest first. {words}"


def _words(lines: Mapping[str, tuple[list[float], list[float]]]) -> str:
    return ", ".join(f"{name} from {number(aucs[0])} to {number(aucs[-1])}" for name, (_, aucs) in lines.items())


def machine_id_lines(noticed: Sequence[Noticed]) -> dict[str, Sequence[Noticed]]:
    """Split what a run notices by machine ID, after the mean over all."""
    own = group_by(noticed, lambda entry: entry.machine_id)
    return {"mean over machine IDs": noticed, **own} if len(own) > 1 else dict(own)
