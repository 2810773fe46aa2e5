"""Levels of training clips: measured once for all runs on them."""

import json

import pytest
from support import world

from mimii_pl.scoring import usual_sound
from mimii_pl.scoring.usual_sound import SOUND_FILE, kept_levels, write_usual_sound


def test_levels_are_measured_once_for_all_runs_on_the_same_clips(tmp_path, open_data, monkeypatch):
    root = world.write(tmp_path / "world", train=4, test=1)
    data = open_data(root)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    assert not kept_levels(data).known
    write_usual_sound(data, first)
    monkeypatch.setattr(usual_sound, "_measured", lambda *_: pytest.fail("measured again"))
    write_usual_sound(open_data(root), second)
    assert (first / SOUND_FILE).read_text() == (second / SOUND_FILE).read_text()
    assert set(json.loads((second / SOUND_FILE).read_text())["machine_ids"]) == {"fan/id_00", "fan/id_02"}
    with pytest.raises(pytest.fail.Exception):  # other clips
        write_usual_sound(open_data(root, "protocol.validation=0.5"), second)


@pytest.mark.parametrize("content", ["5", "[]", "null", '{"machine_ids": {"fan/id_00": 5}}', '{"fan/id_00": 5}'])
def test_levels_of_a_wrong_form_are_measured_again(tmp_path, open_data, content):
    data = open_data(world.write(tmp_path / "world", train=4, test=1))
    write_usual_sound(data, tmp_path)
    kept, written = kept_levels(data).path, (tmp_path / SOUND_FILE).read_text()
    kept.write_text(content)
    write_usual_sound(data, tmp_path)
    assert (tmp_path / SOUND_FILE).read_text() == kept.read_text() == written
