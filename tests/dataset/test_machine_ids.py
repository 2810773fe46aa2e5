"""The machine ID of a recording: one way for training and for every way of scoring."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from support import imitation, world

import mimii_pl
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts
from mimii_pl.dataset._machine_id import FolderNames, MachineIds
from mimii_pl.dataset._spellings import Conditions
from mimii_pl.run import run
from mimii_pl.scoring.bulk.predictor import Predictor
from mimii_pl.scoring.bulk.ray import ScoreRecordings
from mimii_pl.scoring.bulk.recordings import recordings
from mimii_pl.scoring.inputs import machine_id_numbers
from mimii_pl.tracking.load import score as score_files

KNOWN = MachineIds(["fan/id_00", "fan/id_02"])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("normal_id_02_00000000.wav", "fan/id_02"),
        ("fan/test/anomaly_id_00_00000012.wav", "fan/id_00"),
        ("id_00/valid_02.wav", "fan/id_00"),
        ("id_00/grid_02_run.wav", "fan/id_00"),
        ("id_00/normal/a.wav", "fan/id_00"),
        ("test/id_02/defect/a.wav", "fan/id_02"),
        ("id_00_monday.wav", "fan/id_00"),
        ("id_021/a.wav", "id_021"),
        ("normal_id_04_00000000.wav", "id_04"),
        ("mid_00/a.wav", None),
        ("valid_02.wav", None),
        ("id_00/monday/a.wav", None),
        ("a.wav", None),
        ("id_00_id_02.wav", None),
    ],
)
def test_whole_words_tell_the_id(path, found):
    assert KNOWN.of(Path(path)) == found
    assert KNOWN.of(Path("/data") / path) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/elsewhere/hall1/line2/x.wav", "m/hall1_line2"),
        ("/elsewhere/hall1/line7/x.wav", "hall1_line7"),
        ("/elsewhere/line2/x.wav", None),
        ("/elsewhere/hall1/line2/broken/x.wav", "m/hall1_line2"),
        ("/own/hall1/line2/deeper/x.wav", "hall1_line2_deeper"),
        ("/own/hall1/line2/normal_id_00_00000000.wav", "m/hall1_line2"),
        ("/elsewhere/hall1/line2/normal_id_00_00000000.wav", "m/hall1_line2"),
        ("/elsewhere/normal_id_00_00000000.wav", None),
    ],
)
def test_folders_tell_the_id_of_a_run_that_learned_from_folders(path, found):
    ids = MachineIds(["m/hall1_line1", "m/hall1_line2"], FolderNames(Conditions()), "/own")
    assert ids.of(Path(path)) == found


def test_numbers_are_names_and_folders_far_above_do_not_count():
    ids = MachineIds(["m/1", "m/007"], FolderNames(Conditions()), "/own")
    found = [ids.of(Path(path)) for path in ("/new/1/a.wav", "/new/007/a.wav", "/home/1/data/a.wav", "/new/7/a.wav")]
    assert found == ["m/1", "m/007", None, "7"]


def test_case_counts_only_among_ids_that_differ_in_nothing_else():
    ids = MachineIds(["m/Nord", "m/S\u00fcd", "m/a", "m/A"], FolderNames(Conditions()), "/own")
    found = [ids.of(Path(f"/new/{name}/x.wav")) for name in ("NORD", "nord", "s\u00dcd", "a", "A", "west")]
    assert found == ["m/Nord", "m/Nord", "m/S\u00fcd", "m/a", "m/A", None]
    assert ids.of(Path("/own/NORD/x.wav")) == "m/Nord"
    assert KNOWN.of(Path("FAN/ID_00/x.wav")) == "fan/id_00"
    assert MachineIds(["fan/id_00", "pump/id_00"]).of(Path("PUMP/id_00/x.wav")) == "pump/id_00"
    assert MachineIds(["m/press1"], FolderNames(Conditions()), "/own").of(Path("/new/PRESS9/x.wav")) == "PRESS9"
    for names, number in ((["NORD", "M/nord"], 0), (["a"], 2), (["m/A"], 3)):
        assert set(machine_id_numbers(names, len(names), ids.labels, needed=True)) == {number}


def test_names_of_files_tell_only_known_ids_where_a_table_gave_them():
    ids = MachineIds(["machine/id_00"], named=False)
    assert [ids.of(Path(name)) for name in ("rec_id_17_0.wav", "normal_id_00_00000000.wav")] == [None, "machine/id_00"]


def test_a_machine_type_alone_is_its_only_id():
    ids = MachineIds(["fan/id_00", "pump/id_00", "pump/id_02"])
    assert [ids.listed(name) for name in ("fan/", "pump/", "fan/id_00", "")] == ["fan/id_00", "", "fan/id_00", ""]


def test_of_several_machines_the_folder_tells_which():
    ids = MachineIds(["fan/id_00", "pump/id_00"])
    assert ids.of(Path("pump/test/normal_id_00_00000000.wav")) == "pump/id_00"
    assert ids.of(Path("normal_id_00_00000000.wav")) == "id_00"


def test_an_id_of_several_machines_is_asked_about(trees):
    scorer = mimii_pl.load(trees["nested"][1], device="cpu")
    scorer.labels = ["fan/id_00", "pump/id_00"]
    with pytest.raises(InputError, match="'id_00': give one of fan/id_00, pump/id_00"):
        scorer.id_numbers("id_00", 1)


TREES = {  # folder of recordings -> machine ID that training gives them
    "nested": {"hall1/line1": "hall1_line1", "hall1/line2": "hall1_line2", "hall2/line1/ok": "hall2_line1"},
    "words": {"id_00": "id_00", "id_02/normal": "id_02", "train/mid_00/good": "mid_00"},
    "numbers": {"1": "1", "007": "007", "id 3": "id 3"},
}
NAMES = ("a.wav", "valid_02.wav", "grid_02_run.wav", "normal_id_00_00000000.wav", "1.wav")


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Folders of recordings, each with a run that learned from it."""
    made = {}
    for name, folders in TREES.items():
        here = tmp_path_factory.mktemp(name)
        files = [f"{folder}/{file}" for folder in folders for file in NAMES]
        root = imitation.unpacked({file: imitation.wav(file) for file in files}, here / "own")
        options = ("model=level", "dataset=folder", "protocol.test=0", "protocol.validation=0.4", "logger=none")
        run(world.configured(root, "report=brief", *options), here / "run")
        made[name] = root, here / "run"
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("place", ["own", "copied"])
def test_training_and_every_scoring_give_one_answer(trees, name, place, tmp_path):
    root, run_dir = trees[name]
    if place == "copied":
        files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.wav")}
        root = imitation.unpacked(files, tmp_path / "copied")
    expected = {
        str(root / folder / file): f"machine/{id_}"
        for (folder, id_), file in itertools.product(TREES[name].items(), NAMES)
    }
    scorer = mimii_pl.load(run_dir, device="cpu")
    assert set(scorer.labels) == set(expected.values())
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in expected))
    (tmp_path / "list.csv").write_text("file\n" + "".join(f"{path}\n" for path in expected))
    for source in (root, tmp_path / "list.txt", tmp_path / "list.csv"):
        decoded = [Predictor(scorer).decode(recording) for recording in recordings(source)]
        assert {item.file: item.machine_id for item in decoded} == expected
    assert {path: scorer.machine_ids.of(Path(path)) for path in expected} == expected
    told = scorer.score(list(expected), machine_id=list(expected.values()))
    assert scorer.score(list(expected)).tolist() == told.tolist()
    batch = ScoreRecordings(str(run_dir), device="cpu")({"path": np.array(list(expected))})
    assert batch["machine_id"].tolist() == list(expected.values())
    np.testing.assert_allclose(batch["score"], told, rtol=1e-6)


@pytest.mark.slow
def test_columns_of_a_list_count_as_in_training(trees, tmp_path):
    root, run_dir = trees["nested"]
    predictor = Predictor(mimii_pl.load(run_dir, device="cpu"))
    file = root / "hall1" / "line1" / "a.wav"
    for header, cells, found in (
        ("path,id", "hall1_line2", "machine/hall1_line2"),
        ("file_name,Section", "hall1_line2", "machine/hall1_line2"),
        ("wav;machine;id", "machine;hall1_line2", "machine/hall1_line2"),
        ("path,machine_id", "", "machine/hall1_line1"),
        ("path,id", "9", "9"),
    ):
        mark = ";" if ";" in header else ","
        (tmp_path / "list.csv").write_text(f"{header}\n{file.with_suffix('')}{mark}{cells}\n")
        item = predictor.decode(next(recordings(tmp_path / "list.csv")))
        assert item.machine_id == found
        assert ("was not seen in training" in item.skipped) == (found == "9")


@pytest.mark.slow
def test_a_list_is_read_by_the_columns_of_the_runs_own_table(tmp_path):
    names = [f"{n}.wav" for n in range(12)]
    imitation.unpacked({name: imitation.wav(name) for name in names}, tmp_path / "own")
    presses = 6 * ["Nord", "S\u00fcd"]
    rows = "".join(f"{name};{press}\n" for name, press in zip(names, presses, strict=True))
    table = tmp_path / "own" / "label.csv"
    table.write_bytes(f"Aufnahme;Presse\n{rows}".encode("cp1252"))
    columns = ("dataset.columns.path=Aufnahme", "dataset.columns.id=Presse")
    options = ("model=level", "dataset=table", "protocol=holdout", "protocol.validation=0.4", "logger=none", *columns)
    run(world.configured(table, "report=brief", *options), tmp_path / "run")
    output = score_files(run=str(tmp_path / "run"), input=str(table), output=str(tmp_path / "out.csv"), device="cpu")
    with open(output, newline="") as file:
        found = [row["machine_id"] for row in csv.DictReader(file)]
    assert found == [f"machine/{press}" for press in presses]
    usual = tmp_path / "own" / "usual.csv"
    usual.write_text("path,id\n" + "".join(f"{name},{press}\n" for name, press in zip(names, presses, strict=True)))
    given = {"path": "Aufnahme", "id": "Presse"}
    assert list(recordings(usual, given)) == list(recordings(usual)) == list(recordings(table, given))


@pytest.mark.slow
def test_the_runs_own_recordings_are_known_from_anywhere(trees, tmp_path, monkeypatch):
    root, run_dir = trees["nested"]
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    scorer = mimii_pl.load(run_dir, device="cpu")
    for place in (root, tmp_path / "link", Path("link")):
        assert scorer.machine_ids.of(place / "hall1" / "line1" / "a.wav") == "machine/hall1_line1"
    assert read_facts(run_dir)["root"] == str(root)


def test_ids_of_any_type_are_text(trees):
    scorer = mimii_pl.load(trees["numbers"][1], device="cpu")
    wave = np.random.default_rng(0).normal(0, 0.1, (2, 1600))
    assert scorer.id_numbers(1, 1) == scorer.id_numbers("1", 1)
    assert scorer.score(wave, rate=16000, machine_id=[1, "007"]).shape == (2,)
    with pytest.raises(InputError, match="'7' was not seen in training"):
        scorer.score(wave, rate=16000, machine_id=7)
