"""Published figures: what the file holds agrees with itself, keys are checked, runs are set beside them."""

import math
import statistics

import pytest

from mimii_pl.core.errors import InputError
from mimii_pl.report import published_comparison
from mimii_pl.report.page import write_report
from mimii_pl.report.published import everything, published
from mimii_pl.scoring.results import Result, write_results


def test_every_figure_is_a_fraction_and_stands_once():
    figures = everything()
    assert all(0 < figure.value <= 1 for figure in figures)
    assert all(figure.paper and figure.dataset and figure.note for figure in figures)
    places = [(figure.key, figure.machine, figure.id, figure.metric) for figure in figures]
    assert len(places) == len(set(places))
    for key in {figure.key for figure in figures}:
        of_key = [figure for figure in figures if figure.key == key]
        assert len({figure.paper for figure in of_key}) == len({figure.dataset for figure in of_key}) == 1


@pytest.mark.parametrize("over", ["id", "machine"])
def test_published_means_are_the_means_of_what_is_published_with_them(over):
    """A slip in copying would show: rounded to two decimals of a percent, each mean is that of its parts."""
    values = {figure[:1] + figure[3:6]: figure.value for figure in everything()}
    checked = 0
    for (key, machine, name, metric), mean in values.items():
        if name == "mean" and (machine == "all") == (over == "machine"):
            parts = [
                value
                for (other, m, i, of), value in values.items()
                if (other, of) == (key, metric)
                and (i == "mean" and m != "all" if over == "machine" else m == machine and i.startswith("id_"))
            ]
            if parts:
                assert statistics.fmean(parts) == pytest.approx(mean, abs=1.1e-4), (key, machine, metric)
                checked += 1
    assert checked > 5


def test_keys_are_chosen_and_checked():
    assert {figure.machine for figure in published(["kim2021"], {"fan", "pump"})} == {"fan", "pump"}
    assert published(None) == []
    assert published("all") == list(everything())
    assert math.isclose(published("latent_lof")[2].value, 0.916)
    with pytest.raises(InputError, match=r"published=kim2012: no such key.*Did you mean kim2021\?"):
        published(["kim2012"])


def results_of(machine, values):
    """`id_00`: AUC ..., with their mean and minimum."""
    ids = [Result(machine, name, "auc", value) for name, value in values.items()]
    mean = statistics.fmean(values.values())
    return [*ids, Result(machine, "mean", "auc", mean), Result(machine, "min", "auc", min(values.values()))]


def test_a_run_beside_what_was_published():
    results = results_of("fan", {"id_00": 0.5396, "id_02": 0.9, "id_04": float("nan")})
    grid = published_comparison.compare_published(["dcase2020_baseline"], "dcase2020", results)
    cells = {row[:2]: row[2:5] for row in grid.rows}
    assert cells["fan id_00", "AUC"] == (".540", ".540", ".000")
    assert cells["fan id_02", "AUC"] == (".722", ".900", ".178")
    assert cells["fan id_06", "AUC"] == (".723", "-", "-")
    assert cells["fan mean", "pAUC"] == (".526", "-", "-")
    assert not any(name.startswith("all") for name, _ in cells)  # its mean over types is one over six
    assert "Other data" not in grid.note
    assert (
        "Other data here: synthetic is not dcase2020"
        in published_comparison.compare_published(["aegan_ad"], "synthetic", results).note
    )
    assert published_comparison.compare_published(["eurecom_cae"], "dcase2020", results) is None
    assert published_comparison.compare_published(None, "dcase2020", results) is None


def test_maximum_over_ids_and_mean_over_the_same_machine_types():
    types = ("fan", "pump", "slider", "valve")
    results = [r for n, name in enumerate(types) for r in results_of(name, {"id_00": 0.6 + n / 10, "id_02": 0.4})]
    cells = {row[:2]: row[2:5] for row in published_comparison.compare_published(["mimimi"], "dcase2020", results).rows}
    assert cells["pump maximum", "AUC"] == (".995", ".700", "-.295")
    assert cells["all types mean", "AUC"][1] == ".575"
    assert cells["all types maximum", "AUC"][1] == ".750"


def test_a_sweep_shows_the_first_run_of_each_machine_and_a_page_its_own(tmp_path):
    rows = []
    for number, machine in enumerate(("fan", "pump", "slider", "valve")):
        run = tmp_path / f"{number}-{machine}"
        run.mkdir()
        write_results(run / "results.csv", results_of(machine, {"id_00": 0.6, "id_02": 0.8}))
        (run / "config.yaml").write_text("published: [kim2021]\nchoices: {dataset: synthetic}\n")
        rows += [{"run": run.name, "rank": 1, "machine": machine}, {"run": "no", "rank": 2, "machine": machine}]
    grid = published_comparison.sweep_comparison(tmp_path, rows)
    assert [row[0] for row in grid.rows] == [f"{name} mean" for name in ("fan", "pump", "slider", "valve", "all types")]
    assert grid.rows[-1][2:5] == (".972", ".700", "-.272")
    assert published_comparison.sweep_comparison(tmp_path, rows[:2]) is None
    clips = "\n".join(f"fan,id_00,,{n}.wav,{n % 2},{n}" for n in range(6))
    (tmp_path / "0-fan" / "scores.csv").write_text(f"machine,id,domain,file,label,score\n{clips}\n")
    page = write_report(tmp_path / "0-fan").read_text()
    assert "Published / Here" in page
    assert ".964" in page
    assert "synthetic is not mimii" in page
