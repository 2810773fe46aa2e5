"""What a scorer takes: arrays of a known full scale, files, and a device that exists."""

import numpy as np
import pytest
import torch
from support import old_run

import mimii_pl
from mimii_pl.core.errors import InputError


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
