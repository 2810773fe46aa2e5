"""The challenge's files, and its score, against published ones and against a second implementation."""

import csv
import re

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from mimii_pl.scoring.challenge import write_challenge
from mimii_pl.scoring.results import per_machine_id
from mimii_pl.scoring.scores import ClipScore


def read(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def made(domains=("source", "target"), machines=("fan", "valve"), ids=("section_00", "section_01"), seed=0):
    rng = np.random.default_rng(seed)
    return [
        (machine, one, domain, label, rng.normal(label))
        for machine in machines
        for one in ids
        for domain in domains
        for label in (0, 1)
        for _ in range(20)
    ]


def columns(clips):
    return [np.array(column) for column in zip(*clips, strict=True)]


def official(clips, name):
    machine, one, domain, label, score = columns(clips)
    results = per_machine_id(machine, one, label, score, domain, name)
    return {(r.machine, r.id, r.metric): r.value for r in results}


def test_since_2022_a_domain_is_its_normal_clips_against_all_anomalies():
    clips = made()
    machine, one, domain, label, score = columns(clips)
    parts = []
    for name in ("fan", "valve"):
        for section in ("section_00", "section_01"):
            here = (machine == name) & (one == section)
            for part in ("source", "target"):
                rows = here & ((domain == part) | (label == 1))
                parts.append(roc_auc_score(label[rows], score[rows]))
                found = official(clips, "dcase2022")[name, section, f"auc_{part}"]
                assert found == pytest.approx(parts[-1], abs=1e-12)
            parts.append(roc_auc_score(label[here], score[here], max_fpr=0.1))
    values = official(clips, "dcase2022")
    assert values["all", "hmean", "official_2022"] == pytest.approx(stats.hmean(parts), abs=1e-12)
    assert values["fan", "hmean", "official_2022"] == pytest.approx(stats.hmean(parts[:6]), abs=1e-12)


def test_in_2021_a_domain_is_judged_by_itself():
    clips = made()
    machine, one, domain, label, score = columns(clips)
    parts = []
    for key in sorted(set(zip(machine, one, domain, strict=True))):
        rows = (machine == key[0]) & (one == key[1]) & (domain == key[2])
        parts += [roc_auc_score(label[rows], score[rows]), roc_auc_score(label[rows], score[rows], max_fpr=0.1)]
    assert official(clips, "dcase2021")["all", "hmean", "official_2021"] == pytest.approx(stats.hmean(parts), abs=1e-12)


def test_in_2020_it_is_the_mean_over_ids_then_types():
    clips = [clip for clip in made(domains=("",)) if clip[:2] != ("valve", "section_01")]
    values = official(clips, "dcase2020")
    means = [values[name, "mean", metric] for name in ("fan", "valve") for metric in ("auc", "pauc")]
    assert values["all", "mean", "official_2020"] == pytest.approx(np.mean(means), abs=1e-12)


def test_no_domains_no_score_of_domains():
    values = official(made(domains=("",)), "dcase2022")
    assert not [metric for *_, metric in values if "source" in metric or "official" in metric]


def test_one_class_in_a_domain_leaves_the_others():
    clips = [clip for clip in made(machines=("fan",)) if clip[2:4] != ("target", 0)]
    values = official(clips, "dcase2022")
    assert np.isnan(values["fan", "section_00", "auc_target"])
    assert 0 < values["fan", "hmean", "official_2022"] < 1


def test_published_scores_of_2021_give_the_published_score_and_the_same_files(shared, tmp_path):
    folder = shared / "reference" / "dcase2021_ae_fan"
    clips, decided = [], []
    for path in sorted(folder.glob("anomaly_score_*.csv")):
        _, section, domain = re.match(r"anomaly_score_(fan)_(section_\d\d)_(source|target)_test", path.stem).groups()
        decisions = read(folder / path.name.replace("anomaly_score", "decision_result"))
        for (name, score), (same, decision) in zip(read(path), decisions, strict=True):
            assert name == same
            clips.append(("fan", section, domain, int("anomaly" in name), float(score)))
            decided.append(ClipScore("fan", section, domain, name, -1, float(score), int(decision)))
    published = [row for row in read(folder / "result.csv") if row and row[0].isdigit()]
    expected = stats.hmean([float(value) for row in published for value in row[2:4]])
    assert official(clips, "dcase2021")["fan", "hmean", "official_2021"] == pytest.approx(expected, abs=1e-12)
    write_challenge(tmp_path / "challenge", decided, "dcase2021")
    assert {path.name for path in (tmp_path / "challenge").iterdir()} == {p.name for p in folder.glob("*_test.csv")}
    for path in (tmp_path / "challenge").iterdir():
        theirs, ours = read(folder / path.name), read(path)
        assert [row[0] for row in ours] == sorted(row[0] for row in theirs)
        assert {row[0]: float(row[1]) for row in ours} == {row[0]: float(row[1]) for row in theirs}


@pytest.mark.parametrize(
    ("official_", "name"),
    [("dcase2020", "fan_id_00"), ("dcase2021", "fan_id_00_source_test"), ("dcase2022", "fan_id_00_test")],
)
def test_names_and_rows(tmp_path, official_, name):
    clips = [ClipScore("fan", "id_00", "source", f"b{n}.flac", -1, 1 / 3, n) for n in (1, 0)]
    write_challenge(tmp_path / "c", clips, official_)
    assert (tmp_path / "c" / f"anomaly_score_{name}.csv").read_text() == f"b0.wav,{1 / 3!r}\nb1.wav,{1 / 3!r}\n"
    assert (tmp_path / "c" / f"decision_result_{name}.csv").read_text() == "b0.wav,0\nb1.wav,1\n"
