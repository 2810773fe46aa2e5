"""The page and the tables of a run, from small csv files."""

import csv
import io
import math
import re
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from mimii_pl.core.console import Console
from mimii_pl.core.errors import InputError
from mimii_pl.report import tables
from mimii_pl.report.page import PageContent, write_report
from mimii_pl.scoring import metrics
from mimii_pl.scoring.results import Result, per_machine_id, read_results, write_results

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Elements with their attributes, and all text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.html = [], "", path.read_text("utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def make_run(run_dir, *, ids=("id_00", "id_02", "id_03"), one_class=("id_03",), change=lambda score: score):
    """A run directory as a training leaves it: machine `fan`, 30 clips per ID, those of `one_class` all normal."""
    rng, rows = np.random.default_rng(0), []
    for one in ids:
        for number in range(30):
            label = 0 if one in one_class else number % 2
            folder = f"/data/fan/{one}/{'abnormal' if label else 'normal'}"
            score = change(float(rng.normal(9 + label)))
            rows.append(("fan", one, "", f"{folder}/{number:08}.wav", label, repr(score)))
    write(run_dir / "scores.csv", ("machine", "id", "domain", "file", "label", "score"), rows)
    labels, scores = [row[4] for row in rows], [float(row[5]) for row in rows]
    results = per_machine_id([row[0] for row in rows], [row[1] for row in rows], labels, scores)
    write_results(run_dir / "results.csv", results)
    (run_dir / "config.yaml").write_text("title: <script>alert(1)</script>\nnote: é\n", encoding="utf-8")
    epochs = [(epoch, name, 1 / (epoch + 1)) for epoch in range(3) for name in ("train/loss", "val/loss", "lr")]
    write(run_dir / "history.csv", ("epoch", "metric", "value"), epochs)
    return results


def test_page_is_one_readable_file(tmp_path):
    results = make_run(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    path = write_report(tmp_path, PageContent("auto_encoder on fan", "oracle <selection>; seed 3"))
    assert path == tmp_path / "report.html"
    assert {file.name for file in tmp_path.iterdir()} == before | {"report.html"}
    page = Page(path)
    links = [attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert links
    assert all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in links)
    assert not re.search(r"@import|url\(|<script|<link|\bon\w+=", page.html)
    targets = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(targets) == len(set(targets))
    wanted = {link[1:] for link in links if link[0] == "#"}
    wanted |= {a[name] for _, a in page.elements for name in ("aria-labelledby", "aria-describedby") if name in a}
    assert wanted <= set(targets)
    for row in tables.table_rows(results):
        assert all(cell in page.text for cell in row.cells)
    assert "auto_encoder on fan" in page.text
    assert page.text.count("oracle <selection>; seed 3") == 2  # header and table
    assert "<script>alert(1)</script>" in page.text  # as text: the configuration is escaped
    assert "note: é" in page.text


def test_images_are_drawings_with_words(tmp_path):
    make_run(tmp_path)
    images = Page(write_report(tmp_path)).all("img")
    words = [image["alt"] for image in images]
    both = ["Histogram of anomaly scores", "ROC curve", "Precision-recall curve"]
    assert [word.split(":")[0].split(" by ")[0] for word in words] == [
        *both,
        *both,
        "Histogram of anomaly scores",
        "Training curve of loss",
        "Training curve of lr",
    ]
    assert "15 normal clips with median 8." in words[0]
    assert "train/loss from 1 to 0.3333" in words[-2]
    for image in images:
        assert ElementTree.fromstring(b64decode(image["src"].partition(",")[2])).tag.endswith("svg")


def test_one_class_is_undefined_and_nothing_fails(tmp_path):
    make_run(tmp_path)
    page = Page(write_report(tmp_path))
    section = page.html.split('<h2 id="machine-3">')[1].split("</section>")[0]
    assert "fan id_03" in section
    assert "<strong>undefined</strong>" in section
    undefined = ", ".join(f"{metric.head} undefined" for metric in metrics.metrics_of("scores"))
    assert f"{undefined}, normal 30, anomalous 0" in unescape(section)
    assert "ROC" not in section
    assert "undefined for 1 more" in page.text


def test_lists_show_the_extremes(tmp_path):
    make_run(tmp_path)
    with (tmp_path / "scores.csv").open(newline="") as file:
        clips = [row for row in csv.DictReader(file) if row["id"] == "id_00"]
    page = Page(write_report(tmp_path))
    section = page.html.split('<h2 id="machine-1">')[1].split("</section>")[0]
    listed = re.findall(r'<span class="file">(?:\w+/)?(\d{8})\.wav.*?score (\S+?)<', section)
    by_score = sorted(clips, key=lambda row: -float(row["score"]))
    normal, anomalous = ([row for row in by_score if row["label"] == label] for label in "01")
    expected = [*by_score[:5], *normal[:5], *anomalous[::-1][:5]]
    assert listed == [(row["file"][-12:-4], f"{float(row['score']):#.5g}") for row in expected]
    assert section.count(">normal</span>") == sum(row["label"] == "0" for row in by_score[:5]) + 5
    assert "/data" not in page.text  # whose computer it was is nobody's business


@pytest.mark.parametrize("score", [1.5, 0.0, -1e20, math.inf, -math.inf])
def test_constant_scores_and_infinities(tmp_path, score):
    make_run(tmp_path, ids=("id_00",), change=lambda _: score)
    assert ".500" in Page(write_report(tmp_path)).text
    make_run(tmp_path, ids=("id_00",), change=lambda one: score if one > 9.5 else one)
    write_report(tmp_path)
    results = {(result.id, result.metric): result.value for result in read_results(tmp_path / "results.csv")}
    for metric in metrics.metrics_of("scores"):
        finite = metric.of_ranks or math.isfinite(score)
        assert math.isnan(results["id_00", metric.name]) == (not finite)


def test_without_config_history_labels(tmp_path):
    write(
        tmp_path / "scores.csv",
        ("machine", "id", "domain", "file", "label", "score"),
        [("fan", "section_00", "target", f"{number}.wav", -1, number) for number in range(4)],
    )
    write_results(tmp_path / "results.csv", [])
    page = Page(write_report(tmp_path))
    assert f"<h1>{tmp_path.name}</h1>" in page.html
    assert "no labelled test clips" in page.text
    assert "4 not labelled clips" in page.all("img")[0]["alt"]
    assert "3.wav, target" in page.text
    assert "Training" not in page.text
    assert "Configuration" not in page.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("fan", "id_00", "", "a.wav", 2, 1.0), r"scores\.csv, line 2: the label is not 0, 1 or -1"),
        (("fan", "id_00", "", "a.wav", 0, "nan"), r"scores\.csv, line 2: .* the score is NaN"),
        (("fan", "id_00", "", "a.wav", 0, "high"), r"scores\.csv, line 2: .*'high'"),
        (("fan", "id_00", "", "a.wav"), r"scores\.csv, line 2"),
    ],
)
def test_bad_scores_are_named_and_the_old_page_stays(tmp_path, row, message):
    make_run(tmp_path)
    (tmp_path / "report.html").write_text("old")
    write(tmp_path / "scores.csv", ("machine", "id", "domain", "file", "label", "score"), [row])
    with pytest.raises(InputError, match=message):
        write_report(tmp_path)
    (tmp_path / "scores.csv").unlink()
    with pytest.raises(InputError, match=r"scores\.csv is missing"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_text() == "old"


def test_the_table_of_the_terminal():
    machine = ["fan"] * 8 + ["valve"] * 4
    ids = ["id_00"] * 4 + ["id_03"] * 4 + ["[red]|"] * 4
    results = per_machine_id(machine, ids, [0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1], np.arange(12.0))
    console = Console(file=io.StringIO(), width=100)
    console.print(tables.results_table(results, "auto_encoder [v2]", caption="seed 7"))
    text = console.file.getvalue()
    assert "auto_encoder [v2]" in text
    assert "valve [red]|" in text
    of_scores = metrics.metrics_of("scores")
    numbers = r" +-?\d?\.\d{3}" * (len(of_scores) - 1)
    assert re.search(rf"fan id_00 +\.750{numbers} +2 +2", text)
    assert re.search(rf"fan id_03{' +-' * len(of_scores)} +4 +0", text)
    assert [name in text for name in ("fan mean", "fan harmonic mean", "fan minimum", "all types mean")] == [True] * 4
    assert "seed 7" in " ".join(text.split())
    heads = [metric.head for metric in metrics.metrics_of("scores", "level")]
    assert tables.table_columns(results) == ["machine ID", *heads, "normal", "anomalous"]
    assert heads[:3] == ["AUC", "pAUC", "PR-AUC"]


def test_numbers():
    assert [tables.number(value) for value in (0.7444, -0.7444, -1.5, 10.0, 1.0, 0.9999, 0.0, math.nan)] == [
        ".744",
        "-.744",
        "-1.500",
        "10.000",
        "1.000",
        "1.000",
        ".000",
        "undefined",
    ]
    assert tables.table_rows([Result("fan", "id_00", "auc", 0.5)])[0].cells[1:3] == (".500", "undefined")
