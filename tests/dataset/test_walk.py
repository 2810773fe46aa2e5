"""The walk through folders of recordings."""

import pytest

from mimii_pl.dataset._audio import UnreadableClip, read
from mimii_pl.dataset._files import audio_files


@pytest.fixture
def walk(tmp_path):
    skipped = []

    def walked():
        skipped.clear()
        files = audio_files(str(tmp_path), lambda folder, reason: skipped.append((folder, reason)))
        return [file.removeprefix(f"{tmp_path}/") for file in files]

    walked.skipped = skipped
    return walked


def test_a_link_to_a_folder_with_the_name_of_a_recording_is_not_followed(tmp_path, walk):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.wav").touch()
    (tmp_path / "x.wav").symlink_to(tmp_path / "elsewhere")
    assert walk() == ["elsewhere/a.wav", "x.wav"]
    with pytest.raises(UnreadableClip, match="a folder, not a regular file"):
        read(tmp_path / "x.wav", sample_rate=16000, channel=0)


def test_two_links_to_a_folder_are_two_folders(tmp_path, walk):
    (tmp_path.parent / "shared").mkdir()
    (tmp_path.parent / "shared" / "a.wav").touch()
    for name in ("id_00", "id_02"):
        (tmp_path / name).symlink_to(tmp_path.parent / "shared")
    assert walk() == ["id_00/a.wav", "id_02/a.wav"]


def test_links_behind_a_link_lead_to_each_folder_once(tmp_path, walk):
    far = tmp_path.parent / "far"
    for name in ("a", "b", "c"):
        (far / name).mkdir(parents=True)
        (far / name / f"{name}.wav").touch()
        for other in ("a", "b", "c"):  # from anywhere to everywhere
            (far / name / f"to_{other}").symlink_to(far / other)
    (tmp_path / "far").symlink_to(far)
    assert sorted(path.rpartition("/")[2] for path in walk()) == ["a.wav", "b.wav", "c.wav"]
