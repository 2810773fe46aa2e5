"""`mimii check`: table, csv, page and exit status; what it marks is left out of training."""

import csv
import re
import shutil

import pytest
from support import planted, world
from support.shut import shut

from mimii_pl.__main__ import main
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.foreign import read_rows
from mimii_pl.report.check_page import CHECK_COLUMNS, check_recordings

HOSTILE = "=1+1 <script>alert(1)<script> [bold]\x1b[31m.wav"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = planted.healthy(tmp_path_factory.mktemp("check") / "recordings", anomaly=5)
    for kind in ("silence", "unreadable", "clipping", "offset", "copy", "dropouts"):
        planted.plant(root, kind)
    shutil.copy(root / "press1" / "normal" / "silence.wav", root / "press1" / "normal" / HOSTILE)
    return root


@pytest.fixture(scope="module")
def written(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    names = [f"output={folder / 'check.html'}", f"table={folder / 'check.csv'}"]
    result = check_recordings(
        compose(["dataset=folder", f"dataset.root={root}", "fail_on=never", *names], "command/check")
    )
    return folder, result


def test_the_table_has_a_line_per_finding(written):
    folder, result = written
    with (folder / "check.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.findings)
    assert tuple(rows[0]) == CHECK_COLUMNS
    assert {row["file"] for row in rows if row["finding"] == "clipping"} == {"press1/normal/clipping.wav"}
    assert {row["finding"] for row in rows if row["exclude"] == "yes"} == {"silence", "unreadable", "copy"}
    assert not any(cell[:1] in ("=", "+", "@", "-") for row in rows for cell in row.values())


def test_the_page_shows_and_plays_what_was_found(written):
    folder, result = written
    page = (folder / "check.html").read_text()
    assert page == result.page
    assert page.count("<audio") == 7  # all but the one that cannot be read, and the original of the copy
    assert page.count("data:image/webp") >= 10
    assert "press1/normal/clipping.wav" in page
    assert "<script>" not in page
    assert "\x1b" not in page
    assert str(folder) not in page


def test_the_terminal_shows_names_as_they_are(root, capsys):
    check_recordings(["dataset=folder", f"dataset.root={root}"])
    shown = capsys.readouterr().out
    assert "\x1b[31m" not in shown
    assert "digital silence" in shown
    assert re.search(r"\d+ recordings of 1 machine IDs, .*: 3 errors, 4 warnings, 0 notes", shown.replace("\n", " "))


@pytest.mark.parametrize(
    ("fail_on", "kinds", "message"),
    [
        ("error", ["silence"], "1 errors (fail_on=error): mend the recordings, or leave out what is marked"),
        ("warning", ["offset"], "1 warnings (fail_on=warning)"),
        ("error", ["offset"], None),
        ("never", ["silence"], None),
        ("warning", [], None),
    ],
)
def test_the_exit_status(tmp_path, monkeypatch, fail_on, kinds, message):
    root = planted.healthy(tmp_path / "recordings", anomaly=0)
    for kind in kinds:
        planted.plant(root, kind)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["mimii"])
    command = ["check", "dataset=folder", f"dataset.root={root}", f"fail_on={fail_on}", "examples=0"]
    if message is None:
        main(command)
    else:
        with pytest.raises(SystemExit) as end:
            main(command)
        assert message in str(end.value.code)
    assert {path.name for path in tmp_path.iterdir()} == {"recordings", "check.csv", "check.html"}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("fail_on=note", "fail_on=note: should be one of: error, warning, never"),
        ("limits.clipped=0", "limits.clipped=0: should be a number above 0"),
        ("limits.band=2", "limits.band=2: should be a share"),
        ("limits.few=many", "limits.few=many: should be a number"),
        ("+limits.clippd=1", "limits.clippd: no such limit.*Did you mean clipped"),
    ],
)
def test_a_wrong_option_is_named(root, option, message):
    with pytest.raises(InputError, match=message):
        check_recordings(["dataset=folder", f"dataset.root={root}", option])


def test_a_file_that_cannot_be_written_is_named_first(root, tmp_path, monkeypatch):
    monkeypatch.setattr("mimii_pl.report.check_page.build_data", None)
    for option in ("output", "table"):
        with shut(tmp_path), pytest.raises(InputError, match=rf"cannot be written: .*set {option}="):
            check_recordings(["dataset=folder", f"dataset.root={root}", f"{option}={tmp_path}/new"])


# --- dataset.exclude -------------------------------------------------------------------------------------------------
def test_what_is_marked_is_not_trained_on(root, written, open_data):
    folder, _ = written
    options = ["dataset=folder", "protocol=holdout"]
    everything = open_data(root, *options)
    data = open_data(root, *options, f"dataset.exclude={folder / 'check.csv'}")
    left_out = {clip.path.name for clip in everything.clips} - {clip.path.name for clip in data.clips}
    assert left_out == {"copy.wav"}  # silence cannot be used anyway
    assert [reason for path, reason in data.skipped if path.endswith("copy.wav")] == [
        f"excluded by {folder / 'check.csv'}"
    ]
    assert [clip.path for clip in data.clips if clip.split == "test"] == [
        clip.path for clip in everything.clips if clip.split == "test"
    ]
    rows = data.rows("train")
    assert (data.waves[rows] == everything.waves[[_row(everything, data.clips[row].path) for row in rows]]).all()


def _row(data, path):
    return [clip.path for clip in data.clips].index(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,what\na.wav,yes\n", "it has no column exclude"),
        ("file,exclude\na.wav,perhaps\n", "line 2: the mark is 'perhaps': it should be yes or no"),
        ("file,exclude\nelsewhere.wav,yes\n", "none of its 1 marked files is a recording of"),
        (None, "No such file"),
    ],
)
def test_a_table_that_does_not_fit_is_named(root, open_data, tmp_path, text, message):
    table = tmp_path / "check.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(InputError, match=message):
        open_data(root, "dataset=folder", "protocol=holdout", f"dataset.exclude={table}")


def test_a_test_recording_stays_though_it_is_marked(tmp_path, open_data):
    root = world.write(tmp_path / "world", train=4, test=2)
    table = tmp_path / "marked.csv"
    files = ["fan/test/anomaly_id_00_00000000.wav", "fan/train/normal_id_00_00000001.wav"]
    table.write_text("file,exclude\n" + "".join(f"{file},yes\n" for file in files))
    assert len(list(read_rows(table))) == 3
    names = {str(clip.path.relative_to(root)) for clip in open_data(root, f"dataset.exclude={table}").clips}
    assert names & set(files) == {files[0]}
