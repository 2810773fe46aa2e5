"""What a scorer takes: arrays of a known full scale, files, and a device that exists."""

import shutil

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from support import old_run, world

import mimii_pl
from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError
from mimii_pl.scoring.scorer import Scorer


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return old_run.restore("anomaly", tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def scorer(run_dir):
    return mimii_pl.load(run_dir, device="cpu")


@pytest.fixture
def wave():
    return np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.uint16, np.complex64, bool, object, str])
def test_an_array_of_unknown_full_scale_is_refused(scorer, wave, dtype):
    with pytest.raises(InputError, match="its full scale is not known"):
        scorer.score((100 * wave).astype(dtype), rate=16000, machine_id="id_00")


def test_arrays_of_known_full_scale_agree(scorer, wave):
    samples = np.rint(wave * 32768).astype(np.int16)
    kinds = [samples, samples / 32768, (samples / 32768).astype(np.float32), torch.from_numpy(samples)]
    scores = [scorer.score(kind, rate=16000, machine_id="id_00") for kind in kinds]
    np.testing.assert_allclose(scores, [scores[0]] * len(kinds), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_an_array_beyond_full_scale_is_refused(scorer, wave, dtype, rate):
    fault = r"a waveform: .* % of its samples lie beyond full scale \(peak .*dataset.full_scale=1\): train with dataset"
    for factor in (100, 8000):
        with pytest.raises(InputError, match=fault):
            scorer.score((factor * wave).astype(dtype), rate=rate, machine_id="id_00")
    with pytest.raises(InputError, match=r"a waveform: rounds to silence in 16 bits .*: train with dataset.full_scale"):
        scorer.score((1e-5 * wave).astype(dtype), rate=rate, machine_id="id_00")


def test_a_few_overs_of_an_array_are_clipped(scorer, wave):
    spike = np.where(np.arange(len(wave)) == 7, 1.9, wave)
    clipped = np.where(np.arange(len(wave)) == 7, 1, wave)
    scores = [scorer.score(one, rate=16000, machine_id="id_00") for one in (spike, clipped)]
    assert scores[0] == scores[1]


def test_the_full_scale_is_that_of_the_run(run_dir, wave, tmp_path):
    changed = tmp_path / "run"
    shutil.copytree(run_dir, changed)
    cfg = OmegaConf.load(changed / "config.yaml")
    assert "full_scale" not in cfg.dataset  # a run of before
    cfg.dataset.full_scale = 64
    OmegaConf.save(cfg, changed / "config.yaml")
    plain, scaled = (mimii_pl.load(one, device="cpu") for one in (run_dir, changed))
    assert (plain.full_scale, scaled.full_scale) == (1, 64)
    expected = plain.score(wave, rate=16000, machine_id="id_00")
    assert scaled.score(64 * wave, rate=16000, machine_id="id_00") == expected
    integers = np.rint(32768 * wave).astype(np.int16)  # have a full scale of their own
    assert scaled.score(integers, rate=16000, machine_id="id_00") == pytest.approx(expected, rel=1e-6)
    for suffix, subtype in (("wav", "FLOAT"), ("w64", "DOUBLE"), ("aiff", "FLOAT")):
        soundfile.write(tmp_path / f"a.{suffix}", 64 * wave, 16000, subtype=subtype)
        assert scaled.score(tmp_path / f"a.{suffix}", machine_id="id_00") == expected
        with pytest.raises(
            InputError, match=rf"a\.{suffix}: .* beyond full scale .*: train with dataset.full_scale=64"
        ):
            plain.score(tmp_path / f"a.{suffix}", machine_id="id_00")


def test_what_is_cut_of_a_recording_is_said(scorer, wave, tmp_path, caplog):
    long = np.tile(wave, 5)[: scorer.samples]
    scorer.score(long, rate=16000, machine_id="id_00")
    assert not caplog.text
    scorer.score(np.stack([np.tile(long, 2)] * 3), rate=16000, machine_id="id_00")
    assert f"3 of 3 recordings are longer than a clip of this run: only their first {scorer.seconds:g} s" in caplog.text
    caplog.clear()
    soundfile.write(tmp_path / "a.wav", np.tile(long, 2), 16000)
    soundfile.write(tmp_path / "b.wav", long, 16000)
    scorer.score([tmp_path / "a.wav", tmp_path / "b.wav"], machine_id="id_00")
    assert "1 of 2 recordings are longer than a clip" in caplog.text


@pytest.mark.parametrize("audio", [np.zeros((2, 3, 100)), [np.zeros(100)], [3], [None]])
def test_what_is_neither_waveforms_nor_files_is_refused(scorer, audio):
    with pytest.raises(InputError, match="waveforms"):
        scorer.score(audio, rate=16000, machine_id="id_00")


@pytest.mark.parametrize("audio", [[], np.empty((0, 16000), np.float32)])
def test_nothing_gives_no_score(scorer, audio):
    assert scorer.score(audio, rate=16000, machine_id="id_00").shape == (0,)


@pytest.mark.parametrize("device", ["bogus", "cpu:x", "cuda:99"])
def test_a_device_that_is_not_there_is_named(run_dir, device):
    with pytest.raises(InputError, match=f"device={device}: not usable here"):
        mimii_pl.load(run_dir, device=device)


@pytest.mark.parametrize("name", ["committee", "spectrum"])
def test_batches_in_threads_score_as_one_after_the_other(name, tmp_path):
    cfg = world.configured(world.write(tmp_path / "world", train=8, test=4, seconds=1.0), f"model={name}")
    data = world.data_of(cfg)
    data.fit_features()
    detector = build(cfg.model, data.in_shape, len(data.labels)).eval()
    form = {"labels": data.labels, "sample_rate": data.sample_rate, "samples": data.samples}
    scorer, outputs = Scorer(detector, data.features, batch_size=3, **form), ("embedding", "score")
    clips = data.waves[:], data.machine_id
    before, passed = torch.get_num_threads(), {}
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert scorer.batches_at_once == threads
            passed[threads] = scorer.pass_waves(*clips, outputs)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for output in outputs:
        np.testing.assert_array_equal(getattr(passed[3], output), getattr(passed[1], output))
