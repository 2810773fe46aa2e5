"""Any sampling frequency from 1 kHz to 200 kHz: a run trains, scores, reports, and scores new recordings as it did."""

import numpy as np
import pytest
from support import world

import mimii_pl
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts
from mimii_pl.core.stored_config import read_config
from mimii_pl.core.units import resolve_units
from mimii_pl.run import run
from mimii_pl.scoring.scores import read_scores

QUICK = "model=simple_ae", "trainer=smoke", "report=default", "report.clips=1", "training.epochs=1"


@pytest.mark.parametrize(
    ("rate", "options"),
    [
        (1000, ["features.n_fft=128", "features.hop=64"]),
        (2560, []),
        *(pytest.param(rate, [], marks=pytest.mark.slow) for rate in (8000, 51_200, 192_000)),
    ],
)
def test_a_run_at_any_rate_is_whole(rate, options, dcase_folder, tmp_path):
    root = dcase_folder(rate=rate, seconds=2.0, ids=(0,), train=8, test=2)
    run(world.configured(root, *QUICK, f"dataset.sample_rate={rate}", *options), tmp_path / "run")
    facts = read_facts(tmp_path / "run")
    assert (facts["status"], facts["samples"]) == ("finished", 2 * rate)
    assert 0 <= facts["sensitivity"] <= 1
    assert (tmp_path / "run" / "report.html").read_text().count("<audio") >= 1
    scorer, scored = mimii_pl.load(tmp_path / "run", device="cpu"), read_scores(tmp_path / "run" / "scores.csv")
    again = [scorer.score(clip.file, machine_id="id_00")[0] for clip in scored]
    assert len(scored) == 4
    np.testing.assert_allclose(again, [clip.score for clip in scored], rtol=1e-5)


@pytest.mark.parametrize("rate", [1, 999, 400_001, 2**31])
def test_a_rate_that_no_recording_may_have_is_named_before_decoding(rate, dcase_folder, tmp_path):
    cfg = world.configured(dcase_folder(), *QUICK, f"dataset.sample_rate={rate}")
    with pytest.raises(InputError, match=rf"^dataset.sample_rate={rate}: should be from 1000 to 400000 Hz$"):
        run(cfg, tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_bands_above_half_the_rate_are_named_before_decoding(dcase_folder, tmp_path):
    cfg = world.configured(dcase_folder(), *QUICK, "dataset.sample_rate=2560", "features.f_max=8000")
    with pytest.raises(InputError, match=r"features.f_max=8000: .* 1280 Hz, half of dataset.sample_rate"):
        run(cfg, tmp_path / "run")
    assert not (tmp_path / "cache").exists()


def test_the_native_rate_and_windows_in_ms_are_numbers_of_the_run(dcase_folder, tmp_path):
    root = dcase_folder(rate=2560, seconds=2.0, ids=(0,), train=8, test=2)
    options = "dataset.sample_rate=native", "features.n_fft=100ms", "features.hop=20Hz"
    cfg = world.configured(root, *QUICK, "report.clips=0", *options)
    run(cfg, tmp_path / "run")
    stored = read_config(tmp_path / "run")
    assert (stored.dataset.sample_rate, stored.features.sample_rate) == (2560, 2560)
    assert (stored.features.n_fft, stored.features.hop) == (256, 128)
    assert read_facts(tmp_path / "run")["samples"] == 5120
    scorer, scored = mimii_pl.load(tmp_path / "run", device="cpu"), read_scores(tmp_path / "run" / "scores.csv")
    again = scorer.score([clip.file for clip in scored], machine_id="id_00")
    np.testing.assert_allclose(again, [clip.score for clip in scored], rtol=1e-5)
    assert cfg.dataset.sample_rate == "native"  # the configuration that was given stays as it was
    run(cfg, tmp_path / "run")  # the same command once more: finished already, not another configuration


def test_native_is_the_rate_of_most_recordings(dcase_folder, caplog):
    root = dcase_folder(rate=51_200, ids=(0,), train=6, test=2, seconds=0.1)
    dcase_folder(root, rate=16_000, ids=(2,), train=3, test=1, anomalies=1, seconds=0.1)
    (root / "fan" / "train" / "normal_id_00_00000099.wav").write_text("no sound")
    cfg = resolve_units(world.configured(root, "model=committee", "dataset.sample_rate=native", "features.n_fft=64ms"))
    assert (cfg.dataset.sample_rate, cfg.features.n_fft, cfg.model.n_fft) == (51_200, 3276, 3276)
    assert "native: 51200 Hz, as 10 of 15 recordings; the other 5 are resampled" in caplog.text


@pytest.mark.parametrize("value", ["64", "64s", "0ms", "ms", "-64ms", "[64ms]"])
def test_a_length_of_no_unit_is_named(dcase_folder, tmp_path, value):
    with pytest.raises(InputError, match=r"^features\.n_fft=.*should be"):
        run(world.configured(dcase_folder(), *QUICK, f"features.n_fft='{value}'"), tmp_path / "run")
