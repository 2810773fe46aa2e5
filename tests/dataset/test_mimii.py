"""The layout of original MIMII, on imitations and on its own clips."""

import shutil

import numpy as np
import pytest
import soundfile
from support import world

from mimii_pl.core.errors import InputError


@pytest.fixture
def root(tmp_path):
    """6 dB and -6 dB fans: 5 normal and 2 abnormal clips of an ID, 8 channels told apart by their level."""
    rng = np.random.default_rng(0)
    for snr in ("6_dB", "-6_dB"):
        for condition, count in (("normal", 5), ("abnormal", 2)):
            folder = tmp_path / "mimii" / f"{snr}_fan" / "fan" / "id_00" / condition
            folder.mkdir(parents=True)
            for index in range(count):
                noise = rng.standard_normal((16000, 8)) * 0.01 * np.arange(1, 9)
                soundfile.write(folder / f"{index:08d}.wav", noise, 16000, subtype="PCM_16")
    return tmp_path / "mimii"


def data_of(root, *overrides):
    return world.data_of(world.configured(root, "dataset=mimii", "model=dense_ae", *overrides))


def test_split_conditions_and_snr(root):
    data = data_of(root, "dataset.snr=-6")
    assert all("-6_dB_fan" in str(clip.path) for clip in data.clips)
    test = [(clip.condition, clip.path.stem) for clip in data.clips if clip.split == "test"]
    assert sorted(test) == [(c, f"{i:08d}") for c in ("anomaly", "normal") for i in range(2)]
    assert sorted(clip.path.stem for clip in data.clips if clip.split != "test") == [
        "00000002",
        "00000003",
        "00000004",
    ]


def test_an_unpacked_archive_without_snr_in_its_path(root):
    assert len(data_of(root / "6_dB_fan").clips) == 7
    with pytest.raises(InputError, match=r"no recordings at 0 dB .*0_dB_<type>"):
        data_of(root, "dataset.snr=0")


def test_a_channel_or_their_mean(root):
    level = [data_of(root, f"dataset.channel={channel}").waves.std() for channel in (0, 7, "mean")]
    assert level[1] == pytest.approx(8 * level[0], rel=0.02)
    assert level[2] == pytest.approx(level[0] * np.sqrt(np.sum(np.arange(1, 9) ** 2)) / 8, rel=0.02)
    with pytest.raises(InputError, match="no channel 8: it has 8"):
        data_of(root, "dataset.channel=8")


def test_real_eight_channel_clips(shared, tmp_path):
    for machine in ("fan", "pump", "slider", "valve"):
        for condition in ("normal", "abnormal"):
            folder = tmp_path / "mimii" / f"6_dB_{machine}" / machine / "id_00" / condition
            folder.mkdir(parents=True)
            for index, path in enumerate(sorted((shared / "real" / "mimii8ch" / machine / condition).glob("*.flac"))):
                shutil.copy(path, folder / f"{index:08d}.flac")
    data = data_of(tmp_path / "mimii", "machine=valve", "dataset.channel=mean")
    assert data.waves.shape[1] == 160_000
    assert {clip.condition for clip in data.clips if clip.split == "test"} == {"normal", "anomaly"}
    first, samples = data.clips[0].path, data.waves[0]
    np.testing.assert_allclose(samples, soundfile.read(first, dtype="int16")[0].mean(axis=1), atol=0.51)
