"""A run on a data set with domains, from its archives to the challenge's files and a score for a new recording."""

import csv
import json

import numpy as np
import pytest
from support import imitation, world

from mimii_pl import load
from mimii_pl.run import run
from mimii_pl.scoring.results import read_results
from mimii_pl.tracking.load import score as score_files


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Chords in the layout of 2022: two sections, half of the test clips from a domain with another level."""
    folder = tmp_path_factory.mktemp("domains")
    rng = np.random.default_rng(0)
    files = {}
    for number, section in enumerate(("00", "01")):
        names = imitation.trained("bearing", section, "vel_9", source=12, target=4)
        names += imitation.evaluated("bearing", section, "_vel_9")
        for name in names:
            wave = world.chord(rng, number, anomalous="anomaly" in name, seconds=1.0)
            files[name] = world.encoded(wave * (0.5 if "target" in name else 1))
    imitation.unpacked(files, folder / "data" / "dev_data")
    options = ("dataset=dcase2022", "machine=bearing", "model=spectrum", "threshold=gamma")
    run(world.configured(folder / "data", "report=brief", *options), folder / "run")
    return folder / "run"


@pytest.mark.slow
def test_the_table_has_the_domains_and_the_official_score(run_dir, capsys):
    value = {(r.id, r.metric): r.value for r in read_results(run_dir / "results.csv")}
    sections = ("section_00", "section_01")
    parts = [value[one, metric] for one in sections for metric in ("auc_source", "auc_target", "pauc")]
    assert value["hmean", "official_2022"] == pytest.approx(len(parts) / sum(1 / part for part in parts))
    assert "AUC target" in (run_dir / "report.html").read_text()


def test_the_challenge_files_are_the_scores_and_decisions(run_dir):
    with open(run_dir / "scores.csv", newline="") as file:
        scores = {row["file"].rsplit("/", 1)[-1]: row for row in csv.DictReader(file)}
    names = {path.name for path in (run_dir / "challenge").iterdir()}
    assert names == {
        f"{kind}_bearing_section_0{n}_test.csv" for kind in ("anomaly_score", "decision_result") for n in (0, 1)
    }
    rows = (run_dir / "challenge" / "anomaly_score_bearing_section_01_test.csv").read_text().splitlines()
    assert len(rows) == 8
    for name, score in (row.split(",") for row in rows):
        assert scores[name]["score"] == score
    thresholds = json.loads((run_dir / "thresholds.json").read_text())["thresholds"]
    for row in scores.values():
        limit = thresholds.get(f"bearing/{row['id']}", thresholds["all"])
        assert row["decision"] == str(int(float(row["score"]) > limit))


def test_new_recordings_are_called_normal_or_anomalous(run_dir, tmp_path):
    rng = np.random.default_rng(1)
    for name, anomalous in (("good", False), ("broken", True)):
        wave = world.chord(rng, 0, anomalous=anomalous, seconds=1.0)
        (tmp_path / f"section_00_{name}.wav").write_bytes(world.encoded(wave))
    table = score_files(run=str(run_dir), input=str(tmp_path), output=str(tmp_path / "out.csv"), device="cpu")
    with open(table, newline="") as file:
        good, broken = sorted(csv.DictReader(file), key=lambda row: "broken" in row["file"])
    assert good["machine_id"] == "bearing/section_00"
    assert broken["decision"] == "1"
    assert broken["higher_than"] == "1"
    assert float(good["score"]) < float(broken["score"])
    assert load(run_dir).thresholds.state_dict() == json.loads((run_dir / "thresholds.json").read_text())
