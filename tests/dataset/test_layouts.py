"""Layouts on disk: what is found, whose it is, and what real folders look like."""

import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._dcase_names import parse_path

pytestmark = pytest.mark.slow

FEW = "protocol.validation=0"


# --- DCASE 2020 ------------------------------------------------------------------------------------------------------
def test_a_file_name_tells_everything(tmp_path):
    clip = parse_path(tmp_path / "ToyCar" / "test" / "anomaly_id_03_00000007.wav")
    assert (clip.machine, clip.machine_id, clip.condition, clip.split) == ("ToyCar", "id_03", "anomaly", "test")
    assert clip.label == "ToyCar/id_03"


@pytest.mark.parametrize("name", ["normal_id_3_00000000", "normal_00000000", "abnormal_id_00_00000000", "x"])
def test_a_name_of_another_pattern_is_no_clip(tmp_path, name):
    assert parse_path(tmp_path / "fan" / "train" / f"{name}.wav") is None


def test_wav_and_flac_in_any_case_are_found(dcase_folder, open_data):
    root = dcase_folder(ids=(0,), train=3)
    dcase_folder(ids=(2,), train=3, suffix="flac")
    for path in sorted((root / "fan").glob("*/normal_id_00_*.wav")):
        path.rename(path.with_suffix(".WAV"))
    found = open_data(root, FEW)
    assert Counter(clip.path.suffix for clip in found.clips) == {".WAV": 5, ".flac": 7, ".wav": 2}
    assert found.labels == ["fan/id_00", "fan/id_02"]


def test_machine_types_are_what_the_folder_holds(dcase_folder, open_data):
    root = dcase_folder(machines=("gearbox", "3d_printer"), ids=(0,))
    assert open_data(root, "machine=all", FEW).labels == ["3d_printer/id_00", "gearbox/id_00"]
    assert {clip.machine for clip in open_data(root, "machine=gearbox", FEW).clips} == {"gearbox"}
    with pytest.raises(InputError, match=r"machine 'fan' .*found there: 3d_printer, gearbox"):
        open_data(root, "machine=fan")


def test_real_motors_in_the_dcase_layout(shared, open_data, tmp_path):
    folder = tmp_path / "real" / "bldc"
    shutil.copytree(shared / "real" / "bldc_dcase2020" / "bldc", folder)
    found = open_data(folder.parent, "machine=bldc")
    assert found.labels == ["bldc/id_01", "bldc/id_02", "bldc/id_03"]
    assert found.waves.shape == (180, 32000)
    assert found.skipped == []
    assert {clip.machine_id for clip in found.clips if clip.condition == "anomaly"} == {"id_01", "id_02"}
    row = found.rows("test")[0]
    np.testing.assert_array_equal(found.waves[row], soundfile.read(found.clips[row].path, dtype="int16")[0])


# --- MIMII -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def mimii(tmp_path):
    """Writes an imitation of MIMII: eight channels, channel k of constant sign pattern at level k + 1."""

    def write(machines=("fan",), ids=(0,), normal=5, abnormal=2, prefix="6_dB_{}"):
        rng = np.random.default_rng(0)
        for machine in machines:
            for id_ in ids:
                for condition, count in (("normal", normal), ("abnormal", abnormal)):
                    folder = tmp_path / "mimii" / prefix.format(machine) / machine / f"id_{id_:02d}" / condition
                    folder.mkdir(parents=True)
                    for index in range(count):
                        noise = rng.standard_normal((2000, 8)) * 0.01 * np.arange(1, 9)
                        soundfile.write(folder / f"{index:08d}.wav", noise, 16000, subtype="PCM_16")
        return tmp_path / "mimii"

    return write


def test_types_with_the_same_id_are_kept_apart(mimii, open_data):
    root = mimii(machines=("fan", "pump"), ids=(0, 2))
    found = open_data(root, "dataset=mimii", "machine=all")
    assert found.labels == ["fan/id_00", "fan/id_02", "pump/id_00", "pump/id_02"]
    assert len(found.clips) == 28
    assert open_data(root, "dataset=mimii", "machine=pump").labels == ["pump/id_00", "pump/id_02"]


def test_folders_without_snr_are_taken_as_they_are(mimii, open_data):
    found = open_data(mimii(prefix="."), "dataset=mimii")
    assert found.labels == ["fan/id_00"]
    assert Counter(clip.split for clip in found.clips) == {"test": 4, "train": 2, "validation": 1}


def test_both_protocols_make_the_baseline_split(mimii, open_data):
    root = mimii(ids=(0, 4), normal=9, abnormal=3)
    one, two = (open_data(root, "dataset=mimii", f"protocol={protocol}") for protocol in ("mimii", "official"))
    assert one.clips == two.clips
    for id_ in ("id_00", "id_04"):
        tested = [clip for clip in one.clips if clip.machine_id == id_ and clip.split == "test"]
        assert sorted((clip.condition, clip.path.stem) for clip in tested) == [
            (condition, f"{index:08d}") for condition in ("anomaly", "normal") for index in range(3)
        ]


def test_more_abnormal_than_normal_clips_leave_nothing_to_train_on(mimii, open_data):
    with pytest.raises(InputError, match=r"no usable normal clip to train on .*machine=fan"):
        open_data(mimii(normal=2, abnormal=3), "dataset=mimii")


def test_a_machine_or_folder_that_is_not_there(mimii, open_data, tmp_path):
    root = mimii(machines=("fan", "valve"))
    with pytest.raises(InputError, match=r"machine 'pump' .*found there: fan, valve"):
        open_data(root, "dataset=mimii", "machine=pump")
    with pytest.raises(InputError, match=r"expected 6_dB_<type>/<type>/id_00.*dataset=synthetic"):
        open_data(tmp_path / "nowhere", "dataset=mimii")


def test_channels_of_real_eight_channel_clips(shared, open_data, tmp_path):
    for condition in ("normal", "abnormal"):
        folder = tmp_path / "mimii" / "6_dB_valve" / "valve" / "id_00" / condition
        folder.mkdir(parents=True)
        for index, path in enumerate(sorted((shared / "real" / "mimii8ch" / "valve" / condition).glob("*.flac"))):
            (folder / f"{index:08d}.flac").symlink_to(path)
    samples = None
    for channel in (0, 7, "mean"):
        found = open_data(tmp_path / "mimii", "dataset=mimii", "machine=valve", f"dataset.channel={channel}", FEW)
        assert found.waves.shape == (7, 160_000)
        if samples is None:
            samples = soundfile.read(found.clips[-1].path, dtype="int16")[0]
        expected = np.rint(samples.mean(axis=1)) if channel == "mean" else samples[:, channel]
        assert np.abs(found.waves[-1].astype(int) - expected).max() <= (channel == "mean")
