"""Findings in real recordings: each is one that can be defended, and there are no others."""

import pytest

from mimii_pl.core.config import build_data, compose
from mimii_pl.quality.check_data import check_data
from mimii_pl.quality.limits import Limits


def found(*overrides: str) -> set[tuple[str, str]]:
    """Kind of each finding, with its recording or machine ID."""
    result = check_data(build_data(compose([*overrides], "command/check")), Limits())
    return {
        (one.kind, one.label if one.row is None else result.recordings[one.row].clip.path.stem)
        for one in result.findings
    }


def test_motors(shared):
    """The fault of motor 1 is loud; five clips of motor 3, all of one recording, are 11 dB louder than the others."""
    louder = {("level", f"normal_id_03_{number:08d}") for number in range(5)}
    root = f"dataset.root={shared / 'real' / 'bldc_dcase2020'}"
    assert found("dataset=dcase2020", "machine=bldc", root) == {("level_auc", "bldc/id_01"), *louder}


def test_eight_channels(shared):
    """One recording is there twice, once attenuated; there are few of each machine."""
    few = {("few", f"machine/{name}") for name in ("fan", "pump", "slider", "valve")}
    assert found("dataset=folder", f"dataset.root={shared / 'real' / 'mimii8ch'}") == {
        ("near_copy", "DrStef_valve_id00_n_00000117_quiet"),
        *few,
    }


@pytest.mark.slow
def test_slide_rails(shared):
    """Clips 3 and 64 of the public set are one recording in two noises: without a lag they correlate at 0.92."""
    root = shared / "real" / "dcase2020" / "slider"
    assert found("dataset=folder", f"dataset.root={root}") == {("near_copy", "normal_id_00_00000064")}


@pytest.mark.slow
def test_toy_cars(shared):
    assert found("dataset=dcase2020", "machine=ToyCar", f"dataset.root={shared / 'real' / 'toycar_vocoded'}") == set()
