"""Every kind of finding is found where it was planted, and nowhere else."""

import numpy as np
import pytest
import soundfile
from support import planted

from mimii_pl.core.config import build_data, compose
from mimii_pl.quality.check_data import Checked, check_data
from mimii_pl.quality.findings import FINDINGS
from mimii_pl.quality.limits import Limits, read_limits

ALONE = {  # kind -> other findings that are true of its recording as well
    "same_channels": {"format"},
    "dead_channel": {"format"},
    "rate": {"unlike"},  # played faster
    "hum": {"unlike"},
}


def checked(root, *overrides, limits=None) -> Checked:
    cfg = compose(["dataset=folder", f"dataset.root={root}", *overrides], "command/check")
    return check_data(build_data(cfg), limits or Limits())


def found(result: Checked) -> dict[str, set[str]]:
    """CheckedRecording (or machine ID) -> kinds of its findings."""
    places: dict[str, set[str]] = {}
    for one in result.findings:
        name = one.label if one.row is None else result.recordings[one.row].clip.path.name
        places.setdefault(name, set()).add(one.kind)
    return places


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return planted.healthy(tmp_path_factory.mktemp("clean") / "recordings")


@pytest.fixture(scope="module")
def result_of_all(tmp_path_factory):
    root = planted.healthy(tmp_path_factory.mktemp("planted") / "recordings")
    for kind in FINDINGS:
        planted.plant(root, kind)
    return checked(root)


def test_a_clean_set_has_no_finding(clean):
    result = checked(clean)
    assert result.findings == []
    assert len(result.recordings) == 20


@pytest.mark.parametrize("kind", FINDINGS)
def test_a_planted_fault_is_found_and_nothing_else(result_of_all, kind):
    name = {"few": "press2", "level_auc": "press3", "one_sided": "press4", "no_normal": "press5"}.get(kind)
    place = f"machine/{name}" if name else f"{kind}.wav"
    assert kind in found(result_of_all)[place]
    assert found(result_of_all)[place] - {kind} <= ALONE.get(kind, set())


def test_nothing_is_found_where_nothing_was_planted(result_of_all):
    names = {f"{kind}.wav" for kind in FINDINGS} | {f"machine/press{number}" for number in range(2, 6)}
    assert set(found(result_of_all)) <= names


def test_the_worst_comes_first_and_only_what_harms_is_marked(result_of_all):
    severities = [one.severity for one in result_of_all.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    marked = {one.kind for one in result_of_all.findings if one.exclude}
    assert marked == {"unreadable", "silence", "copy", "near_copy", "stopped", "dead_channel"}


def test_the_numbers_are_those_that_were_planted(result_of_all):
    texts = {one.kind: one.text for one in result_of_all.findings}
    assert "120 ms long" in texts["dropouts"]
    assert "at 0.25 of full scale" in texts["clipping"]
    assert "energy ends at 4000 Hz" in texts["band"]
    assert "multiples of 50 Hz" in texts["hum"]
    assert "8 of 16 bits" in texts["bits"]
    assert "anomalies 2024-05-17 (6); normal 2024-03-01 (14)" in texts["one_sided"]


@pytest.mark.parametrize("kind", ["clipping", "dropouts", "offset", "level", "band", "hum", "near_copy", "unlike"])
def test_a_limit_is_an_option(result_of_all, kind, tmp_path):
    limits = {
        "clipping": {"clipped": 0.9},
        "dropouts": {"dropout": 0.2},
        "offset": {"offset": 30},
        "level": {"level": 60},
        "band": {"band": 0.3},
        "hum": {"hum": 0.99},
        "near_copy": {"near": 1.0},
        "unlike": {"unlike": 90},
    }
    root = planted.healthy(tmp_path / "recordings")
    path = planted.plant(root, kind)
    assert kind not in found(checked(root, limits=read_limits(limits[kind]))).get(path.name, set())


def test_copies_across_labels_and_machines_are_errors(tmp_path):
    root = planted.healthy(tmp_path / "recordings")
    (root / "press1" / "anomaly" / "copy.wav").write_bytes((root / "press1" / "normal" / "001.wav").read_bytes())
    (finding,) = [one for one in checked(root).findings if one.kind == "copy"]
    assert finding.severity == "error"
    assert "condition" in finding.text


def test_a_near_copy_across_a_split_names_the_one_that_is_trained_on(tmp_path):
    root = planted.healthy(tmp_path / "recordings")
    for condition in ("normal", "anomaly"):
        for number, path in enumerate(sorted((root / "press1" / condition).iterdir())):
            split = "test" if condition == "anomaly" or number > 9 else "train"
            (root / split / "press1" / condition).mkdir(parents=True, exist_ok=True)
            path.rename(root / split / "press1" / condition / path.name)
    wave, _ = soundfile.read(root / "train" / "press1" / "normal" / "002.wav")
    planted.write(root / "test" / "press1" / "normal" / "again.flac", 0.5 * wave)
    result = checked(root, "protocol=official")
    (finding,) = [one for one in result.findings if one.kind == "near_copy"]
    assert finding.severity == "error"
    assert "split" in finding.text
    assert result.recordings[finding.row].clip.path.name == "002.wav"


def test_the_sessions_of_attributes_and_microphones(tmp_path):
    root = planted.healthy(tmp_path / "recordings", normal_name="mic1_", anomaly_name="mic2_")
    rows = ["path,label,split,date,load"]
    for path in sorted(root.rglob("*.wav")):
        day = "2024-01-02 10:00" if path.parent.name == "normal" else "2024-02-03 11:00"
        rows.append(f"{path.relative_to(root)},{path.parent.name},,{day},{path.parent.name}")
    (root / "label.csv").write_text("\n".join(rows))
    cfg = compose(["dataset=table", f"dataset.root={root}", "protocol=holdout"], "command/check")
    texts = [one.text for one in check_data(build_data(cfg), Limits()).findings if one.kind == "one_sided"]
    assert [text.partition(":")[0] for text in texts] == ["mic in the name", "date"]


def test_memory_does_not_depend_on_the_length_and_no_block_is_missed(tmp_path):
    rng = np.random.default_rng(0)
    wave = np.concatenate([planted.machine(rng) for _ in range(40)])
    at = (1 << 20) - 100  # across the border of two blocks
    wave[at : at + 400] = 0.0
    root = tmp_path / "recordings"
    planted.write(root / "long.wav", wave)
    result = checked(root)
    (finding,) = [one for one in result.findings if one.kind == "dropouts"]
    assert "25 ms long" in finding.text
    assert finding.at == pytest.approx(at / planted.RATE, abs=1e-3)


def test_hostile_recordings_are_findings_not_crashes(tmp_path):
    root = planted.healthy(tmp_path / "recordings")
    folder = root / "press1" / "normal"
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("not a sound")
    planted.write(folder / "nan.wav", np.array([0.1, np.nan, 0.2]), subtype="FLOAT")
    planted.write(folder / "huge.wav", np.full(100, 1e30) * np.linspace(-1, 1, 100), subtype="FLOAT")
    planted.write(folder / "one.wav", np.array([0.5]))
    planted.write(folder / "many.wav", np.random.default_rng(0).uniform(-0.1, 0.1, (200, 64)))
    places = found(checked(root))
    assert all("unreadable" in places[name] for name in ("empty.wav", "text.wav", "nan.wav"))
    assert "silence" in places["one.wav"]
    assert places["huge.wav"] & {"level", "duration"}
