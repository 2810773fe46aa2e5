"""Curves over the severity of faults, on the page of a run and on that of a comparison."""

import pytest

from mimii_pl.report.fault_curves import fault_curves, machine_id_lines
from mimii_pl.report.figures import LOOKS
from mimii_pl.scoring.pseudo_anomaly import PSEUDO_FAULTS
from mimii_pl.scoring.sensitivity import Noticed


def noticed(value, ids=("fan/id_00",)):
    """The strongest severity of every fault at this AUC, the others at chance."""
    return [
        Noticed(fault.name, severity, fault.unit, id_, 4, value if severity == fault.severities[0] else 0.5)
        for fault in PSEUDO_FAULTS
        for severity in fault.severities
        for id_ in ids
    ]


def test_every_fault_has_its_curve_told_in_words():
    image = fault_curves({"spectrum": noticed(0.9), "idnn": noticed(0.75)})
    assert image.src.startswith("data:image/svg+xml")
    assert image == fault_curves({"spectrum": noticed(0.9), "idnn": noticed(0.75)})  # to the byte
    for fault in PSEUDO_FAULTS:
        assert f"{fault.name} from .900 to .500" in image.alt
        assert f"{fault.name} from .750 to .500" in image.alt


def test_no_more_lines_than_can_be_told_apart_and_none_of_earlier_runs():
    many = {f"detector {number}": noticed(0.8) for number in range(len(LOOKS) + 3)}
    alt = fault_curves(many).alt
    assert f"detector {len(LOOKS) - 1}:" in alt
    assert f"detector {len(LOOKS)}:" not in alt
    assert fault_curves({"old": []}) is None
    assert "old" not in fault_curves({"old": [], "new": noticed(0.8)}).alt


def test_faults_and_severities_of_other_versions_are_left_out():
    other = [Noticed("squeal", 3.0, "dB", "fan/id_00", 4, 0.9), Noticed("whistle", 13.0, "dB", "fan/id_00", 4, 0.9)]
    assert fault_curves({"one": [*noticed(0.8), *other]}) is not None
    assert fault_curves({"one": other[:1]}) is None


@pytest.mark.parametrize("ids", [("fan/id_00",), ("fan/id_00", "fan/id_02")])
def test_machine_ids_have_lines_of_their_own(ids):
    names = list(machine_id_lines(noticed(0.8, ids)))
    assert names == (["mean over machine IDs", *ids] if len(ids) > 1 else list(ids))
