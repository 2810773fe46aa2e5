"""The page of recordings scored in full: one file, names are text, and it does without what is gone."""

import re

import numpy as np
import pytest
import soundfile
from support import world

import mimii_pl
from mimii_pl.report.timeline_page import write_timelines
from mimii_pl.run import run


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    root = world.write(folder / "world", ids=(0,), train=8, test=1, seconds=0.5)
    run(world.configured(root, "model=spectrum"), folder / "run")
    return mimii_pl.load(folder / "run", device="cpu")


def page_of(scorer, path, tmp_path, *, gone=False):
    rng = np.random.default_rng(0)
    wave = [world.chord(rng, 0, anomalous=number == 4, seconds=1.0) for number in range(8)]
    wave[6][:] = 0
    soundfile.write(path, np.concatenate(wave), world.RATE, subtype="PCM_16")
    timeline = scorer.timeline(path)
    if gone:
        path.unlink()
    write_timelines(tmp_path / "timeline.html", scorer, [(str(path), timeline)], 3)
    return timeline, (tmp_path / "timeline.html").read_text()


def test_a_name_is_text_and_nothing_is_loaded_from_elsewhere(scorer, tmp_path):
    name = "<img src=x onerror=alert(1)>\"'&.wav"
    timeline, page = page_of(scorer, tmp_path / name, tmp_path)
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert set(re.findall(r"(?:src|href)=\"([a-z]*:?)", page)) <= {"data:", ""}
    assert page.count("<audio") == len(timeline.events) > 0
    assert page.count("data-event>") == len(timeline.events)
    assert "3 more recordings" in page
    assert "digital silence" in page
    assert page.count("<polyline") == 2  # before and after the silence


def test_an_event_links_to_its_sound(scorer, tmp_path):
    _, page = page_of(scorer, tmp_path / "a.wav", tmp_path)
    links = re.findall(r'<a href="#(event-\d+-\d+)" data-event>', page)
    assert links
    assert all(f'<li id="{link}"' in page for link in links)


def test_a_recording_that_is_gone_has_no_sound_but_a_word(scorer, tmp_path):
    _, page = page_of(scorer, tmp_path / "a.wav", tmp_path, gone=True)
    assert "<audio" not in page
    assert "no sound: there is no such file" in page
