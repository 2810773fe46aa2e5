"""A user's own recordings: a CSV of them, or a folder."""

import csv
import os
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support import imitation, world

from mimii_pl.core.arguments import spell_overrides
from mimii_pl.core.check import check
from mimii_pl.core.errors import InputError
from mimii_pl.dataset.folder import Folder
from mimii_pl.scoring.bulk.recordings import recordings
from mimii_pl.scoring.scores import read_scores, write_scores
from mimii_pl.task.anomaly import clip_scores

pytestmark = pytest.mark.slow

FEW = ("protocol.validation=0",)


# --- table -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def table(tmp_path):
    """Writes a CSV and, for every file in it, a recording; returns the CSV."""

    def write(text, *, data=".", name="label.csv", column=0, suffix="", missing=()):
        path = tmp_path / "own" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        for row in list(csv.reader(text.strip().splitlines(), delimiter=";" if ";" in text else ","))[1:]:
            file = path.parent / data / (row[column] + suffix)
            if row[column] and row[column] not in missing:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(imitation.wav(row[column]))
        return path

    return write


def of_table(path, *overrides):
    return world.data_of(world.configured(path, "model=dense_ae", "dataset=table", *overrides))


def document(count=10):
    """The label.csv of the raw-waveform document: split, abnormal and file_id, no suffix."""
    rows = [("train", 0), ("train", 0), ("valid", 0), ("valid", 1), ("test", 0), ("test", 1)] * count
    return "split,abnormal,file_id\n" + "".join(f"{s},{a},{n:05d}\n" for n, (s, a) in enumerate(rows))


def test_the_label_file_of_the_document_works_as_it_is(table):
    path = table(document(), data="sounds/sounds", column=2, suffix=".wav")
    data = of_table(path.parent, f"dataset.sounds={path.parent / 'sounds' / 'sounds'}")
    assert Counter((clip.split, clip.condition) for clip in data.clips) == {
        ("train", "normal"): 20,
        ("validation", "normal"): 10,
        ("validation", "anomaly"): 10,
        ("test", "normal"): 10,
        ("test", "anomaly"): 10,
    }
    assert [len(data.rows(split)) for split in ("train", "validation", "test")] == [20, 10, 20]
    assert data.labels == ["machine/id_00"]


def test_every_column_and_its_usual_names(table):
    path = table(
        "File;Label;Set;Type;Section;Domain;Recording;rpm\n"
        "a.wav;OK;train;press;p1;Source;r1;900\n"
        "b.wav;healthy;train;press;p1;source;r1;\n"
        "c.wav;NG;test;press;p2;target;r2;1200\n"
        "d.wav;;test;drill;p1;;r3;10\n"
    )
    clips = {clip.path.name: clip for clip in of_table(path, *FEW).clips}
    a = clips["a.wav"]
    assert (a.machine, a.machine_id, a.condition, a.split, a.domain) == ("press", "p1", "normal", "train", "source")
    assert a.attributes == {"rpm": "900", "recording": "r1"}
    assert clips["b.wav"].attributes == {"recording": "r1"}
    assert (clips["c.wav"].condition, clips["d.wav"].condition, clips["d.wav"].label) == ("anomaly", "", "drill/p1")
    assert {clip.machine for clip in of_table(path, "machine=press", *FEW).clips} == {"press"}


def test_columns_can_be_named(table):
    path = table("clip,faulty\na.wav,false\nb.wav,false\nc.wav,true\n")
    data = of_table(path, "dataset.columns.path=clip", "dataset.columns.condition=faulty", "protocol=holdout")
    assert Counter(clip.condition for clip in data.clips) == {"normal": 2, "anomaly": 1}


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("name,label\na.wav,0\n", (), r"no column of file paths: none of path, file, .* is among name, label"),
        ("path,label\na.wav,2\n", (), r"line 2: '2' is not a known condition, .* dataset.anomaly=\[2\]"),
        ("path,label\na.wav,crack\n", (), r"'crack' is not a known condition, .* dataset.anomaly=\[crack\]"),
        ("path,state\na.wav,ok\nb.wav,nok\n", (), r"column 'state' \(nok, ok\) .* dataset.columns.condition=state"),
        ("path,class\na.wav,0\nb.wav,1\n", (), r"column 'class' \(0, 1\)"),
        ("path,what\na.wav,good\nb.wav,broken\n", (), "column 'what'"),
        ("path,state\na.wav,ok\nb.wav,crack\nc.wav,leak\n", (), r"column 'state' \(crack, leak, ok\)"),
        ("path,labels\na.wav,x\nb.wav,crack\n", (), "column 'labels'"),
        ("path,Ergebnis\na.wav,i.O.\nb.wav,n.i.O.\n", (), "column 'Ergebnis'"),
        ("path,defect_kind\na.wav,\nb.wav,crack\n", (), r"column 'defect_kind' \(, crack\)"),
        ("path,label,split\na.wav,0,dev\n", (), r"line 2: 'dev' is not a known split. Known: train"),
        ("path,label\na.wav,0\nb.wav,0\na.wav,1\n", (), r"line 4: .*a.wav is already in line 2"),
        ("path,label\n,0\n", (), "line 2: the file path is empty"),
        ("path,label\n", (), "lists no recordings"),
        ("path,label\na.wav,0\n", (), "protocol=holdout"),
        ("path,label\na.wav,0\n", ("dataset.columns.condition=faulty",), r"no column 'faulty'; it has: path, label"),
        ("path,label\na.wav,0\n", ("+dataset.columns.colour=label",), "a clip has no such field"),
        ("path,label,machine\na.wav,0,press\n", ("machine=fan",), "machine types found there: press"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(table, text, overrides, message):
    with pytest.raises(InputError, match=message):
        of_table(table(text), *overrides)


@pytest.mark.parametrize(
    ("column", "cell", "condition"),
    [
        *(("fault", cell, "normal") for cell in ("none", "None", "no", "nein", "0.00", "0,0", "n", "keine", "ok")),
        *(("fault", cell, "anomaly") for cell in ("y", "ja", "1.00", "1,0", "J", "oui", "wahr", "defekt", "T")),
        *(("is_normal", cell, "normal") for cell in ("y", "ja", "1.00", "ok")),
        *(("is_normal", cell, "anomaly") for cell in ("n", "nein", "0.000", "nok")),
        *((column, "1", "normal") for column in ("no_fault", "fault_free", "isNotFaulty", "fehlerfrei")),
        *((column, "1", "anomaly") for column in ("not_ok", "isNotNormal", "isFaulty", "label", "y")),
    ],
)
def test_words_of_a_fault_column(table, column, cell, condition):
    rows = "".join(f"{n}.wav;ok\n" for n in range(6)) + f"x.wav;{cell}\n"
    data = of_table(table(f"path;{column}\n{rows}"), "protocol=holdout", f"dataset.columns.condition={column}")
    assert {clip.path.name: clip.condition for clip in data.clips}["x.wav"] == condition


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        *(("fault", cell) for cell in ("n/a", "na", "-", "null", "x", "2", "crack", "0.5", "?", "worn")),
        *(("label", cell) for cell in ("none", "n/a", "2", "0.5")),
        ("is_normal", "none"),
        ("quality", "1"),
        ("ok_or_faulty", "1"),
    ],
)
def test_words_that_are_not_understood_are_asked_about(table, column, cell):
    path = table(f"path;{column}\na.wav;ok\nb.wav;ok\nc.wav;{cell}\n")
    with pytest.raises(InputError, match=f"line 4: '{re.escape(cell)}' is not a known condition"):
        of_table(path, f"dataset.columns.condition={column}")
    for option in ("anomaly", "normal"):
        given = ("dataset.columns.condition=" + column, f"dataset.{option}='{cell}'", "protocol=holdout")
        assert Counter(clip.condition for clip in of_table(path, *given).clips)[option] >= 1


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("is_broken", "1,0,0"),
        ("fault_flag", "1.00,0.00,0.00"),
        ("fault_present", "1,1,1"),
        ("broken", "1,,"),
        ("defekt", "ja,nein,nein"),
        ("isFaulty", "y,n,n"),
        ("faulttype", "none,outer,inner"),
        ("fault_type", "0,1,2"),
        ("fault_size", "0,7,14"),
        ("class", "0,1,2"),
        ("class", "A,B,B"),
        ("Zustand", "gut,riss,riss"),
        ("Zustand", "neu,alt,alt"),
        ("seal", "dicht,undicht,dicht"),
        ("verdict", "pass,x,x"),
        ("quality", "1,0,1"),
        ("note", ",,n.i.O."),
    ],
)
def test_a_column_that_may_tell_the_condition_is_asked_about(table, column, cells):
    many = "".join(f"m{n};{cells.split(',')[0]}\n" for n in range(1200))  # the others come late
    rows = "".join(f"{n}.wav;{cell}\n" for n, cell in enumerate(cells.split(",")))
    path = table(f"path;{column}\n{rows}")
    path.write_text(f"path;{column}\n{many}{rows}")
    with pytest.raises(InputError, match=rf"does the column '{column}' \(.*dataset\.columns\.condition={column}, or"):
        of_table(path, "protocol=holdout")
    data = of_table(path, "protocol=holdout", "dataset.columns.condition=none")
    assert {clip.condition for clip in data.clips} == {"normal"}


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("rpm", "900,1200,900"),
        ("load", "0,1,2"),
        ("normal_force", "0.5,1.5,2.5"),
        ("lubricated", "yes,no,yes"),
        ("state", "7.5,8.5,9.5"),
        ("speed", "slow,fast,slow"),
        ("verdict", ",,"),
        ("is_ok", "1,1,1"),
        ("class", "fan,fan,fan"),
    ],
)
def test_other_columns_are_attributes(table, column, cells):
    rows = "".join(f"{n}.wav;{cell}\n" for n, cell in enumerate(cells.split(",")))
    assert len(of_table(table(f"path;{column}\n{rows}"), "protocol=holdout").clips) == 3


def test_columns_and_ids_are_composed_as_one_types_them(table):
    names = [unicodedata.normalize(form, "S\u00fcd") for form in ("NFC", "NFD")]
    rows = "".join(f"{n}.wav;{names[n % 2]}\n" for n in range(6))
    sound, device = (unicodedata.normalize("NFD", name) for name in ("Ger\u00e4usch", "Ger\u00e4t"))
    path = table(f"{sound};{device}\n{rows}")
    columns = ("dataset.columns.path=Ger\u00e4usch", "dataset.columns.id=ger\u00e4t")
    assert of_table(path, "protocol=holdout", *columns).labels == ["machine/S\u00fcd"]


def test_one_and_minus_one_are_asked_about(table):
    path = table("path,label\n" + "".join(f"{n}.wav,{1 if n < 6 else -1}\n" for n in range(8)))
    with pytest.raises(InputError, match=r"'label' holds 1 and -1: which are anomalies\? .*dataset.anomaly=\[-1\]"):
        of_table(path, "protocol=holdout")
    data = of_table(path, "protocol=holdout", "dataset.anomaly=[-1]", "dataset.normal=[1]")
    assert Counter(clip.condition for clip in data.clips) == {"normal": 6, "anomaly": 2}


def test_columns_that_contradict_one_another_are_asked_about(table):
    rows = "".join(f"{n}.wav,ok,{int(n > 5)}\n" for n in range(8))
    path = table(f"path,label,is_faulty\n{rows}")
    with pytest.raises(InputError, match=r"line 8: the columns 'label' \(ok\) and 'is_faulty' \(1\) tell different"):
        of_table(path, "protocol=holdout")
    data = of_table(path, "protocol=holdout", "dataset.columns.condition=is_faulty")
    assert Counter(clip.condition for clip in data.clips) == {"normal": 6, "anomaly": 2}
    agreeing = path.read_text().replace("ok,1", "nok,1")
    path.write_text(agreeing)
    assert Counter(clip.condition for clip in of_table(path, "protocol=holdout").clips) == {"normal": 6, "anomaly": 2}


def test_training_recordings_of_unknown_condition_are_counted(table, caplog):
    path = table("path,label,split\na.wav,,train\nb.wav,unknown,train\nc.wav,0,train\nd.wav,,test\n")
    of_table(path, *FEW)
    assert f"{path}: 2 training recordings are of unknown condition: taken for normal" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na.wav,0\nb.wav," + b"0" * 131_073, "line 3: not a csv: field larger than"),
        (b"path,label\na.wav,0\nb\r.wav,0\n", "line 3: not a csv: a carriage return in a cell without quotes"),
        (b"path,label\na.wav,0\nb\0.wav,0\n", "line 3: this is not text"),
        (b"path,label\na.wav,0\nb.wav,\x81\x8dbel\n", "line 3: '..bel' is neither UTF-8 nor Windows-1252: save"),
        (b"path,label\na.wav,0\nb.wav,\xfcbel\n", "line 3: '\u00fcbel' is not a known condition"),
        (b"path,label\nL\xfcfter.wav,0\n", r"none of the 1 files .* and save the table as UTF-8"),
        (b"path,id\na.wav,=1+1\n", "its machine ID is '=1[+]1': a spreadsheet would run it"),
        (b"path,id\na.wav,@sum\n", "its machine ID is '@sum': a spreadsheet would run it"),
        (b"path,machine\na.wav,a/b\n", "its machine type is 'a/b': it is a path"),
        (b"\x1f\x8b\x08\0", "line 1: this is not text"),
        (b"", "no column of file paths"),
    ],
)
def test_a_table_that_is_none_is_explained_by_its_line(table, content, message):
    path = table("path\na.wav\n")
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        of_table(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_tables_in_other_encodings(table, encoding):
    text = "sep=;\r\npath;label\r\n" + "".join(f"L\u00fcfter{n}.wav;0\r\n" for n in range(6))
    path = table("path\n")
    path.write_bytes(text.encode(encoding))
    for n in range(6):
        name = f"L\u00fcfter{n}.wav".encode("latin-1" if encoding == "latin-1" else "utf-8")
        (path.parent / os.fsdecode(name)).write_bytes(imitation.wav(str(n)))
    assert len(of_table(path, "protocol=holdout").clips) == 6


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_a_table_of_another_encoding_than_the_names_of_files(table, caplog, encoding, form):
    names = [f"L\u00fcfter{n}.wav" for n in range(6)]
    path = table("path\n")
    rows = "".join(f"{name[:-4]};gef\u00e4hrlich\r\n" for name in names)
    path.write_bytes(("path;note\r\n" + rows).encode(encoding))
    for name in names:
        (path.parent / unicodedata.normalize(form, name)).write_bytes(imitation.wav(name))
    data = of_table(path, "protocol=holdout")
    assert [clip.attributes for clip in data.clips] == [{"note": "gef\u00e4hrlich"}] * 6
    assert (f"{path} is not UTF-8: read as Windows-1252" in caplog.text) == (encoding == "cp1252")
    found = list(recordings(path))
    assert sorted(one.path for one in found) == sorted(str(clip.path) for clip in data.clips)


def test_listed_files_that_are_none_are_skipped_and_named(table):
    path = table("path,label,split\na.wav,0,train\nb.wav,0,train\npipe.wav,0,train\n", missing=["pipe.wav"])
    os.mkfifo(path.parent / "pipe.wav")
    data = of_table(path, *FEW)
    assert data.skipped == [(str(path.parent / "pipe.wav"), "not readable as audio: a pipe, not a regular file")]


def test_a_column_that_numbers_rows_is_named(table, caplog):
    path = table("path,id\n" + "".join(f"{n}.wav,{n}\n" for n in range(6)))
    of_table(path, "protocol=holdout")
    assert "every recording has a machine ID of its own: if the column 'id' numbers rows" in caplog.text


def test_missing_files_are_named_and_left_out(table, caplog):
    path = table("path,label,split\na.wav,0,train\nb.wav,0,train\nc.wav,1,test\n", missing=["b.wav"])
    assert len(of_table(path, *FEW).clips) == 2
    assert "b.wav: listed in" in caplog.text
    assert "1 of 3 files" in caplog.text
    with pytest.raises(InputError, match=r"1 files in .* are missing"):
        of_table(path, "dataset.strict=true", *FEW)


def test_all_files_missing_asks_for_their_folder(table):
    with pytest.raises(InputError, match=r"none of the 1 files .*Set dataset.sounds=<"):
        of_table(table("path,label\na.wav,0\n", missing=["a.wav"]))


def test_no_table(tmp_path):
    with pytest.raises(InputError, match=r"label.csv is missing: set dataset.root=<a CSV"):
        of_table(tmp_path)


def test_clips_of_a_recording_stay_on_one_side(table):
    rows = [f"r{r}_{n}.wav,{'anomaly' if r == 7 and n == 0 else 'normal'},r{r}\n" for r in range(8) for n in range(4)]
    data = of_table(table("path,label,recording\n" + "".join(rows)), "protocol=holdout", "protocol.test=0.3")
    sides = {}
    for clip in data.clips:
        sides.setdefault(clip.recording, set()).add(clip.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert sides["r7"] == {"test"}
    assert set.union(*sides.values()) == {"train", "validation", "test"}


def test_real_motors_by_speed(shared, tmp_path):
    rows = [
        f"{path},{'faulty' if path.parent.name == 'propeller' else 'healthy'},{path.parent.parent.name}\n"
        for path in sorted((shared / "real" / "bldc").glob("M*/*/*.flac"))
    ]
    file = tmp_path / "motors.csv"
    file.write_text("path,label,id\n" + "".join(rows))
    data = of_table(file, "protocol=holdout", "dataset.seconds=2", "dataset.long=cut")
    assert len(data.clips) == 20
    assert data.labels == ["machine/M1", "machine/M3"]
    assert Counter(clip.condition for clip in data.clips) == {"normal": 14, "anomaly": 6}
    assert not data.skipped  # 44.1 kHz among them


# --- folder ----------------------------------------------------------------------------------------------------------
def of_folder(root, *overrides):
    return world.data_of(world.configured(root, "model=dense_ae", "dataset=folder", *overrides))


def folder(tmp_path, *names):
    return imitation.unpacked({name: imitation.wav(name) for name in names}, tmp_path / "own")


def test_just_recordings_are_all_normal(tmp_path):
    data = of_folder(folder(tmp_path, *(f"{n}.wav" for n in range(10))))
    assert data.labels == ["machine/id_00"]
    assert Counter((clip.split, clip.condition) for clip in data.clips) == {
        ("train", "normal"): 7,
        ("validation", "normal"): 1,
        ("test", "normal"): 2,
    }


def test_folders_name_conditions_and_ids(tmp_path):
    names = [f"pump{p}/{c}/{n}.wav" for p in (1, 2) for c, k in (("Normal", 6), ("abnormal", 2)) for n in range(k)]
    data = of_folder(folder(tmp_path, *names, "pump3/a.wav", "pump3/b.wav", "pump3/.hidden.wav"), "machine=pump")
    assert data.labels == ["pump/pump1", "pump/pump2", "pump/pump3"]
    assert not data.skipped
    tested = Counter((clip.machine_id, clip.condition) for clip in data.clips if clip.split == "test")
    assert tested == {
        ("pump1", "anomaly"): 2,
        ("pump2", "anomaly"): 2,
        ("pump1", "normal"): 1,
        ("pump2", "normal"): 1,
        ("pump3", "normal"): 1,
    }


NORMAL = ("IO", "i.O.", "gut", "normal", "OK", "good", "Healthy", "0_normal", "normal_dir", "not faulty")
FAULTY = ("NOK", "NOT OK", "not_ok", "broken", "unhealthy", "anomalies", "abnormals", "anomaly1", "abnormal ", "fault")
FAULTY += ("NIO", "n.i.O.", "schlecht", "nicht ok", "NotOK", "\u6545\u969c", "\u5f02\u5e38")
FAULTY += ("1.abnormal", "defects", "Failed", "non-normal")


@pytest.mark.parametrize("name", FAULTY)
def test_many_words_name_a_condition(tmp_path, name):
    names = [f"{folder}/{n}.wav" for folder, count in (("normal", 6), (name, 3)) for n in range(count)]
    data = of_folder(folder(tmp_path, *names))
    assert Counter(clip.condition for clip in data.clips) == {"normal": 6, "anomaly": 3}
    assert data.labels == ["machine/id_00"]


@pytest.mark.parametrize("name", NORMAL)
def test_many_words_name_the_normal_condition(tmp_path, name):
    names = [f"{folder}/{n}.wav" for folder, count in ((name, 6), ("anomaly", 3)) for n in range(count)]
    assert of_folder(folder(tmp_path, *names)).labels == ["machine/id_00"]


@pytest.mark.parametrize(
    ("folders", "doubtful"),
    [
        (("normal", "crack"), "crack"),
        (("train/good", "test/good", "test/crack", "test/cut"), "crack, cut"),
        (("train/good", "test/crack"), "crack"),
        (("press1/normal", "press1/crack", "press2/normal"), "crack"),
        (("normal", "anomaly", "press2"), "press2"),
        (("0", "1"), "0, 1"),
        (("pump_ok", "pump_broken"), "pump_broken, pump_ok"),
        (("line1", "line2_broken"), "line2_broken"),
        (("normal", "outer_race_fault"), "outer_race_fault"),
        (("ok/a", "nok/a", "maybe/a"), "maybe"),
        (("normal", "anomaly/crack", "anomaly/leak"), "crack, leak"),
        (("normal/press1", "anomaly/press1", "anomaly/press9"), "press9"),
        (("train", "test/crack", "test/leak"), "crack, leak"),
        ((".", "crack"), "crack"),
        (("press1/ok", "press1/ok/old"), "old"),
        (("0", "1", "2"), "0, 1, 2"),
        (("train/0", "test/0", "test/1", "test/2"), "0, 1, 2"),
        (("class1", "class2"), "class1, class2"),
        (("label_0", "label_1", "label_2"), "label_0, label_1, label_2"),
        (("-1", "1"), "-1, 1"),
        (("dicht", "undicht"), "dicht, undicht"),
        (("leak", "no_leak", "press1"), "leak, no_leak"),
        (("Last", "ohne Last"), "Last, ohne Last"),
        (("with_load", "without_load"), "with_load, without_load"),
        (("press1/un-geschmiert", "press1/geschmiert"), "geschmiert, un-geschmiert"),
        (("pumpOK", "pumpNOK"), "pumpNOK, pumpOK"),
        (("normal/press1", "anomaly/press1/crack", "anomaly/press1/leak"), "crack, leak"),
    ],
)
def test_a_folder_that_may_be_a_fault_is_asked_about(tmp_path, folders, doubtful):
    root = folder(tmp_path, *(f"{name}/{n}.wav" for name in folders for n in range(3)))
    with pytest.raises(InputError, match=rf"folders {doubtful}.*dataset\.anomaly=\[{doubtful.replace(', ', ',')}\]"):
        of_folder(root)
    data = of_folder(root, f"dataset.ids=[{doubtful}]", "protocol.validation=0", "protocol.test=0.1")
    for name in doubtful.split(", "):
        assert any(name in clip.machine_id for clip in data.clips)


@pytest.mark.parametrize(
    ("folders", "ids"),
    [
        (("press1", "press2"), ["press1", "press2"]),
        (("001", "007"), ["001", "007"]),
        (("1", "2"), ["1", "2"]),
        (("press1", "press2/normal", "press2/anomaly"), ["press1", "press2"]),
        (("normal/press1", "anomaly/press1", "normal/press2"), ["press1", "press2"]),
        (("normal/hall1/line1", "anomaly/hall1/line1", "normal/hall1/line2"), ["hall1_line1", "hall1_line2"]),
        (("1", "2", "3"), ["1", "2", "3"]),
        (("00", "01"), ["00", "01"]),
        (("No 1", "No 2"), ["No 1", "No 2"]),
        (("Nord", "Innen", "indoor"), ["Innen", "Nord", "indoor"]),
    ],
)
def test_folders_of_machines_are_machines(tmp_path, folders, ids):
    root = folder(tmp_path, *(f"{name}/{n}.wav" for name in folders for n in range(4)))
    assert of_folder(root, *FEW).labels == [f"machine/{id_}" for id_ in ids]


@pytest.mark.parametrize(
    "folders", [("normal", "anomaly/ok"), ("normal/broken", "normal/press1"), ("faults/good", "x")]
)
def test_folders_that_contradict_one_another_are_named(tmp_path, folders):
    root = folder(tmp_path, *(f"{name}/{n}.wav" for name in folders for n in range(3)))
    with pytest.raises(
        InputError, match=r"is below (ok|normal|good) \(normal\) and (anomaly|broken|faults) \(anomaly\)"
    ):
        of_folder(root)


@pytest.mark.parametrize("word", ["crack", "[crack]", "Crack", "'crack'", "7", "true"])
def test_one_word_is_a_list_of_one(tmp_path, word):
    name = "crack" if "rack" in word else word
    root = folder(tmp_path, *(f"{part}/{n}.wav" for part in ("good", name) for n in range(6)))
    for option, labels, anomalies in (("anomaly", 1, 6), ("normal", 1, 0), ("ids", 2, 0)):
        (item,) = spell_overrides([f"dataset.{option}={word}"])
        check(world.configured(root, "model=dense_ae", "dataset=folder", item))
        data = of_folder(root, item, *FEW)
        assert len(data.labels) == labels
        assert sum(clip.condition == "anomaly" for clip in data.clips) == anomalies
        options = {"normal": None, "anomaly": None, "root": root, option: name}
        labels = {clip.path: clip.label for clip in data.clips}
        path = root / name / "0.wav"
        assert Folder.machine_ids(data.labels, options).of(path) == labels[path]
    with pytest.raises(InputError, match=r"no folder of recordings .* has this name"):
        of_folder(root, "dataset.anomaly=ack")


def test_two_machines_do_not_become_one(tmp_path):
    root = folder(tmp_path, *(f"{name}/{n}.wav" for name in ("a_b/c", "a/b_c") for n in range(3)))
    with pytest.raises(InputError, match=r"a/b_c and a_b/c make one machine ID, a_b_c: rename one"):
        of_folder(root)


def test_names_are_composed_as_one_types_them(tmp_path):
    names = [unicodedata.normalize("NFD", name) for name in ("normal", "Sch\u00e4den", "S\u00fcd")]
    root = folder(tmp_path, *(f"{name}/{n}.wav" for name in names for n in range(4)))
    data = of_folder(root, "dataset.anomaly=[Sch\u00e4den]", "dataset.ids=[S\u00fcd]", *FEW)
    assert data.labels == ["machine/S\u00fcd", "machine/id_00"]


def test_a_table_without_labels_says_so(table):
    path = table("path,normal_force,lubrication_ok\n" + "".join(f"{n}.wav,{n}.5,{n % 2}\n" for n in range(6)))
    with pytest.raises(InputError, match=r"'lubrication_ok' .*or dataset\.columns\.condition=none if no column does"):
        of_table(path, "protocol=holdout")
    data = of_table(path, "protocol=holdout", "dataset.columns.condition=none")
    assert {clip.condition for clip in data.clips} == {"normal"}


def test_names_that_were_given_count_and_must_be_there(tmp_path):
    names = [f"{s}/{c}/{n}.wav" for s, c in (("train", "good"), ("test", "good"), ("test", "crack")) for n in range(4)]
    root = folder(tmp_path, *names)
    data = of_folder(root, "dataset.anomaly=[Crack]", "protocol=official")
    assert Counter(clip.condition for clip in data.clips) == {"normal": 8, "anomaly": 4}
    for option in ("anomaly=[crack,crak]", "normal=[crak]", "ids=[crak]"):
        with pytest.raises(
            InputError, match=r"'crak'\]: no folder of recordings below .*: they are crack, good|they are"
        ):
            of_folder(root, f"dataset.{option}")


def test_hidden_folders_are_left_out_and_links_to_nothing_named(tmp_path, caplog):
    root = folder(tmp_path, *(f"{n}.wav" for n in range(9)), ".trash/a.wav")
    (root / "press3").symlink_to("/mnt/away/press3")
    data = of_folder(root)
    assert len(data.clips) == 9
    assert data.skipped == [(str(root / "press3"), "a link to nothing")]


def test_recordings_of_other_kinds_are_skipped_and_named_before_the_split(tmp_path):
    wave = np.random.default_rng(0).normal(0, 0.1, 16000)
    root = folder(tmp_path, *(f"{n}.wav" for n in range(10)))
    for n, suffix in enumerate(["ogg", "mp3", "OGG", "au", "m4a"]):
        soundfile.write(root / f"x{n}.{suffix}", wave, 16000, format=suffix.upper() if suffix != "m4a" else "AU")
    for suffix in ("aiff", "w64", "rf64"):
        soundfile.write(root / f"y.{suffix}", wave, 16000, format=suffix.upper())
    data = of_folder(root, "dataset.seconds=0.5", "dataset.long=cut")
    assert sorted(Path(path).name for path, _ in data.skipped) == ["x3.au", "x4.m4a"]
    assert Counter(clip.split for clip in data.clips) == {"train": 11, "validation": 1, "test": 4}


def test_copies_stay_on_one_side_of_a_split(tmp_path, caplog):
    root = folder(tmp_path, *(f"{n}.wav" for n in range(12)))
    for n in range(12):
        shutil.copy(root / f"{n}.wav", root / f"copy of {n}.wav")
    for seed in range(5):
        data = of_folder(root, f"protocol.seed={seed}", "protocol.validation=0.3")
        sides = defaultdict(set)
        for clip, digest in zip(data.clips, data.digests, strict=True):
            sides[digest].add(clip.split)
        assert all(len(splits) == 1 for splits in sides.values())
        assert {split for splits in sides.values() for split in splits} == {"train", "validation", "test"}
    assert "12 clips are copies of others, kept in one split: " in caplog.text
    names = [f"{split}/{n}.wav" for split in ("train", "test") for n in range(6)]
    root = folder(tmp_path / "split", *names)
    shutil.copy(root / "train" / "0.wav", root / "test" / "0.wav")
    of_folder(root, "protocol=official")
    names = [f"{condition}/{n}.wav" for condition in ("normal", "anomaly") for n in range(6)]
    wrong = folder(tmp_path / "wrong", *names)
    shutil.copy(wrong / "normal" / "0.wav", wrong / "anomaly" / "0.wav")
    of_folder(wrong)
    assert "1 copies have another condition or machine ID than their originals: " in caplog.text
    assert "1 clips are in two splits with the same sound, as the data set has it" in caplog.text


def test_deeper_folders_make_one_id(tmp_path):
    data = of_folder(folder(tmp_path, *(f"hall1/line{i}/ok/{n}.wav" for i in (1, 2) for n in range(3))), *FEW)
    assert data.labels == ["machine/hall1_line1", "machine/hall1_line2"]


def test_folders_of_a_split_are_taken_when_asked(tmp_path):
    names = [f"{s}/{c}/{n}.wav" for s, c in (("train", "good"), ("test", "good"), ("test", "bad")) for n in range(4)]
    data = of_folder(folder(tmp_path, *names), "protocol=official")
    assert Counter(clip.split for clip in data.clips) == {"train": 3, "validation": 1, "test": 8}
    assert data.labels == ["machine/id_00"]


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "no recording in"), (["anomaly/a.wav", "NG/b.wav"], "every recording .* a detector learns from normal")],
)
def test_nothing_to_learn_from(tmp_path, names, message):
    (tmp_path / "own").mkdir()
    with pytest.raises(InputError, match=message):
        of_folder(folder(tmp_path, *names))


def test_a_folder_that_may_not_be_entered_is_named(tmp_path, monkeypatch, caplog):
    root, scan = folder(tmp_path, *(f"{n}.wav" for n in range(9)), "shut/a.wav"), os.scandir

    def shut(path):  # whoever runs the tests may enter any folder
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("mimii_pl.dataset._files.os.scandir", shut)
    assert len(of_folder(root).clips) == 9
    assert f"skipped {root / 'shut'}: Permission denied" in caplog.text
    with pytest.raises(InputError, match=r"shut: Permission denied \(set dataset.strict=false to skip it\)"):
        of_folder(root, "dataset.strict=true")


def test_whatever_lies_beside_the_recordings_costs_itself_only(tmp_path):
    root = folder(tmp_path, *(f"{n}.wav" for n in range(8)))
    os.mkfifo(root / "pipe.wav")
    (root / "self.wav").symlink_to("self.wav")
    (root / "nowhere.wav").symlink_to("gone.wav")
    (root / "folder.wav").mkdir()
    for name in (b"caf\xe9.wav", b"a\rb.wav"):
        (root / os.fsdecode(name)).write_bytes(imitation.wav("0"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "10.wav").write_bytes(imitation.wav("10"))
    (root / "10.wav").symlink_to(tmp_path / "elsewhere" / "10.wav")
    data = of_folder(root)
    assert len(data.clips) == 11
    assert [Path(path).name for path, _ in data.skipped] == ["nowhere.wav", "pipe.wav", "self.wav"]


@pytest.mark.parametrize("name", ["=1+1", "@sum", "-1+cmd|' /C calc'!A0", "+f(x)"])
def test_a_folder_that_a_spreadsheet_would_run_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"its machine ID is .*: a spreadsheet would run it"):
        of_folder(folder(tmp_path, *(f"{name}/{n}.wav" for n in range(8))))


def test_plain_signs_are_names(tmp_path):
    data = of_folder(folder(tmp_path, *(f"{name}/{n}.wav" for name in ("-6_dB", "+6") for n in range(8))))
    assert data.labels == ["machine/+6", "machine/-6_dB"]


def test_files_of_a_run_are_written_as_paths_that_no_spreadsheet_runs(tmp_path, monkeypatch):
    folder(tmp_path, *(f"{n}.wav" for n in range(8)))
    (tmp_path / "own").rename(tmp_path / "=own")
    (tmp_path / "=own" / "9.wav").touch()
    monkeypatch.chdir(tmp_path)
    data = of_folder(Path("=own"))
    assert [path for path, _ in data.skipped] == [f"./{Path('=own', '9.wav')}"]
    rows = data.rows("test")
    write_scores(tmp_path / "scores.csv", clip_scores(data, rows, np.zeros(len(rows))))
    written = [clip.file for clip in read_scores(tmp_path / "scores.csv")]
    assert all(name.startswith("./=own") for name in written)
    assert [Path(name) for name in written] == [data.clips[row].path for row in rows]


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"is not a folder: set dataset.root"):
        of_folder(tmp_path / "nowhere")


def test_real_motors_in_a_folder(shared, tmp_path):
    shutil.copytree(shared / "real" / "bldc", tmp_path / "bldc")
    data = of_folder(
        tmp_path / "bldc", "machine=motor", "dataset.seconds=2", "dataset.long=cut", "dataset.anomaly=[propeller]"
    )
    assert data.labels == ["motor/M1", "motor/M3"]
    assert Counter(clip.condition for clip in data.clips) == {"normal": 14, "anomaly": 6}


# --- lengths and levels ----------------------------------------------------------------------------------------------
@pytest.fixture
def folder_of(tmp_path):
    """Writes recordings of these lengths in s, floating point with this peak; returns the function that opens them."""

    def write(lengths, peak=0.5):
        for number, seconds in enumerate(lengths):
            wave = np.random.default_rng(number).uniform(-peak, peak, round(16000 * seconds))
            wave[0] = peak
            (tmp_path / "own").mkdir(exist_ok=True)
            soundfile.write(tmp_path / "own" / f"{number:02d}.wav", wave, 16000, subtype="FLOAT")
        return lambda *overrides: world.data_of(
            world.configured(tmp_path / "own", "model=dense_ae", "dataset=folder", *overrides)
        )

    return write


@pytest.mark.parametrize(
    ("lengths", "seconds", "warning"),
    [
        (
            [0.4, 1, 2, 3, 4],
            "null",
            "first 2 s of recordings: heard 4.0 s of 7.0 s in 2 longer ones (the rest is cut), 2 shorter ones are",
        ),
        (
            [2, 2, 2, 2, 30],
            "null",
            "first 2 s of recordings: heard 2.0 s of 30.0 s in 1 longer ones (the rest is cut); dataset.seconds=",
        ),
        (
            [2, 2, 2, 2, 2],
            "0.5",
            "first 0.5 s of recordings: heard 2.5 s of 10.0 s in 5 longer ones (the rest is cut); dataset.seconds=",
        ),
        ([1, 1, 1, 1, 1], "5", "first 5 s of recordings: 5 shorter ones are repeated from their start; dataset.sec"),
        ([2, 2, 2.009, 1.991, 2], "null", ""),
    ],
)
def test_what_is_cut_or_repeated_is_said_each_time(folder_of, caplog, lengths, seconds, warning):
    open_folder = folder_of(lengths)
    for _ in range(2):  # decoded, then from the cache
        caplog.clear()
        open_folder(f"dataset.seconds={seconds}", "dataset.long=cut")
        said = [record.getMessage() for record in caplog.records if record.name == "mimii_pl.dataset._datamodule"]
        assert len(said) == bool(warning)
        assert warning in "".join(said)


def test_recordings_beyond_full_scale_are_skipped_and_counted(folder_of):
    open_folder = folder_of([0.5] * 6)
    folder_of([0.5] * 2, peak=16.2)
    data = open_folder()
    assert [Path(path).name for path, _ in data.skipped] == ["00.wav", "01.wav"]
    assert all("beyond full scale (peak 16.2," in reason for _, reason in data.skipped)
    assert open_folder("dataset.full_scale=20").skipped == []
    with pytest.raises(InputError, match=r"00\.wav: .* beyond full scale .*\(set dataset.strict=false to skip it\)"):
        open_folder("dataset.strict=true")


@pytest.mark.parametrize(
    ("peak", "scale", "warning"),
    [
        (3e-4, 1, "the loudest sample is 10 of 32768 steps of 16 bits"),
        (0.3, 1024, "the loudest sample is 10 of 32768 steps of 16 bits"),
        (2e-3, 1, ""),
    ],
)
def test_recordings_that_rounding_changes_are_said(folder_of, caplog, peak, scale, warning):
    folder_of([0.5] * 6, peak)(f"dataset.full_scale={scale}")
    assert (warning in caplog.text) if warning else not caplog.text
    if warning:
        assert f"set dataset.full_scale={2**-10 * scale:.8g}" in caplog.text


@pytest.mark.parametrize("value", [0, -1, ".inf", "loud"])
def test_a_full_scale_that_is_none_is_named(folder_of, value):
    folder_of([0.5] * 6)
    with pytest.raises(InputError, match=r"dataset\.full_scale="):
        check(world.composed("dataset=folder", f"dataset.full_scale={value}"))
