"""Labels as people have them: what names a fault is asked about, and an option answers, `dataset.labels`."""

import logging
from collections import Counter

import pytest
from support import imitation, world

from mimii_pl.core.check import check
from mimii_pl.core.config import build_data
from mimii_pl.core.errors import InputError
from mimii_pl.dataset._spellings import suggests_fault
from mimii_pl.dataset.folder import Folder


def discovered(root, *overrides, dataset="folder"):
    cfg = world.configured(root, "model=level", f"dataset={dataset}", *overrides)
    check(cfg)
    return build_data(cfg).discover()


def folder(tmp_path, *names, count=2):
    files = {f"{name}/{n}.wav": imitation.wav(f"{name}{n}") for name in names for n in range(count)}
    return imitation.unpacked(files, tmp_path / "own")


SUGGESTIVE = (
    "panne",
    "en_panne",
    "Leckage",
    "Lüfter Störung",
    "Verschleiß",
    "cassé",
    "averiado",
    "guasto",
    "uszkodzony",
)
SUGGESTIVE += ("worn bearing", "rust", "hatal\u0131", "неисправный", "轴承损坏", "ベアリング不良", "crack2", "scrapped")


@pytest.mark.parametrize("name", SUGGESTIVE)
def test_a_folder_whose_name_suggests_a_fault_is_asked_about_and_the_option_named_in_it_works(tmp_path, name):
    root = folder(tmp_path, "press1", name)
    with pytest.raises(InputError, match=rf"folders {name} beside press1 faults.*dataset\.anomaly=\[{name}\]"):
        discovered(root)
    answers = f"dataset.anomaly=[{name}]", "dataset.ids=press1"
    conditions = Counter(clip.condition for clip in discovered(root, *answers))
    assert conditions == {"normal": 2, "anomaly": 2}


@pytest.mark.parametrize(
    "name", ["press1", "no_leak", "leak-free", "undamaged", "Ohne Störung", "wearable", "Karussell"]
)
def test_other_names_suggest_none(name):
    assert not suggests_fault(name)


def test_labels_tell_the_condition_of_any_word(tmp_path):
    root = folder(tmp_path, "press1/A", "press1/Klasse 7", "press2/A", "press2/7")
    labels = "dataset.labels={a: normal, Klasse 7: anomaly, 7: anomaly}"
    clips = discovered(root, labels)
    assert Counter((clip.machine_id, clip.condition) for clip in clips) == {
        (id_, condition): 2 for id_ in ("press1", "press2") for condition in ("normal", "anomaly")
    }
    options = {"normal": [], "anomaly": [], "labels": {"a": "normal", "Klasse 7": "anomaly"}, "root": root}
    new = root.parent / "new" / "press1" / "Klasse 7" / "x.wav"
    assert Folder.machine_ids(["machine/press1", "machine/press2"], options).of(new) == "machine/press1"
    words = Counter(
        clip.condition
        for clip in discovered(folder(tmp_path / "swapped", "ok", "x"), "dataset.labels={ok: anomaly, x: normal}")
    )
    assert words == {"anomaly": 2, "normal": 2}  # what is given counts before what is known


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("dataset.labels={A: broken}", r"dataset\.labels=\{A: broken\}: a name stands for normal or anomaly"),
        ("dataset.labels={A: normal, C: anomaly}", r"dataset\.labels=\['C'\]: no folder of recordings"),
        ("dataset.labels={A: normal,B: normal}|dataset.anomaly=a", r"call A both normal and anomalous"),
    ],
)
def test_labels_that_are_wrong_are_named(tmp_path, option, message):
    with pytest.raises(InputError, match=message):
        discovered(folder(tmp_path, "A", "B"), *option.split("|"))


def test_a_root_named_as_a_fault_is_not_learned_as_healthy(tmp_path):
    root = folder(tmp_path, "NOK/press1", "NOK/press2") / "NOK"
    with pytest.raises(
        InputError, match=r"NOK: its name says anomalous, but 4 recordings .*dataset\.labels=\{NOK: normal\}"
    ):
        discovered(root)
    assert {clip.condition for clip in discovered(root, "dataset.labels={NOK: normal}")} == {"normal"}
    inside = folder(tmp_path / "faults", "ok", "nok") / "."
    assert Counter(clip.condition for clip in discovered(inside)) == {"normal": 2, "anomaly": 2}


def test_files_named_as_faults_are_warned_of(tmp_path, caplog):
    root = imitation.unpacked(
        {name: imitation.wav(name) for name in ("a.wav", "broken_01.wav", "press1_defekt.wav")}, tmp_path
    )
    with caplog.at_level(logging.WARNING):
        discovered(root)
    assert (
        "2 recordings are called as if faulty (broken_01.wav), but no folder says so: taken for normal" in caplog.text
    )


# --- tables ----------------------------------------------------------------------------------------------------------
def table(tmp_path, text):
    for line in text.splitlines()[1:]:
        path = tmp_path / line.split(",")[0]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(imitation.wav(path.name))
    (tmp_path / "label.csv").write_text(text, encoding="utf-8")
    return tmp_path / "label.csv"


def test_labels_tell_the_condition_of_any_cell(tmp_path):
    path = table(tmp_path, "path,grade\na.wav,A\nb.wav,B\nc.wav,C\n")
    options = "dataset.columns.condition=grade", "dataset.labels={A: normal, b: normal, C: anomaly}"
    assert [clip.condition for clip in discovered(path, *options, dataset="table")] == ["normal", "normal", "anomaly"]
    with pytest.raises(InputError, match=r"line 4: 'C' is not a known condition.*dataset\.anomaly=\[C\]"):
        discovered(path, options[0], "dataset.labels={A: normal, B: normal}", dataset="table")


@pytest.mark.parametrize("name", ["NOK", "panne"])
def test_a_table_without_conditions_whose_folders_tell_faults_is_asked_about(tmp_path, name):
    path = table(tmp_path, f"path,load\nfine/a.wav,x\n{name}/b.wav,y\n")
    with pytest.raises(InputError, match=rf"lie in a folder '{name}': set dataset\.columns\.condition="):
        discovered(path, dataset="table")
    assert len(discovered(path, "dataset.columns.condition=none", dataset="table")) == 2
