"""The documents say what the code does: the page of detectors is fresh, the examples run, the README stays short."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml

from mimii_pl.__main__ import commands
from mimii_pl.core.config import CONF
from mimii_pl.dataset import Batch
from mimii_pl.report.boards import anomaly_board
from mimii_pl.report.class_leaderboard import CLASS_HEADS
from mimii_pl.report.class_tables import EACH, OVERALL
from mimii_pl.report.cost import COSTS
from mimii_pl.report.published import everything
from mimii_pl.report.ranking import ranking_heads
from mimii_pl.report.tables import DECISIONS, RANKING, table_columns
from mimii_pl.scoring.results import Result

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "mimii_pl"
LIMIT = 12_288  # bytes of the README


@pytest.fixture
def make_detectors(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import make_detectors

    yield make_detectors
    del sys.modules["make_detectors"]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def executed(source: str) -> ModuleType:
    """A module with what a block of a page defines."""
    module = ModuleType("shown_in_extend")
    exec(compile(source, "docs/extend.md", "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def extend() -> dict[str, ModuleType]:
    """Examples of docs/extend.md by the name that each defines."""
    modules = [executed(block) for block in blocks(DOCS / "extend.md", "python")]
    return {name: module for module in modules for name in vars(module)}


# --- the README ------------------------------------------------------------------------------------------------------
def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= LIMIT


def test_the_readme_maps_every_entry_of_the_package():
    text = (ROOT / "README.md").read_text()
    entries = [
        f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.iterdir() if "cache" not in path.name
    ]
    assert not [entry for entry in entries if f"`{entry}`" not in text and entry != "conf/"]


# --- the site --------------------------------------------------------------------------------------------------------
def test_every_page_is_in_the_navigation():
    nav = re.findall(r"[\w/]+\.md", yaml.safe_dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(nav) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("zensical")
    shutil.copytree(DOCS, tmp_path / "docs")  # the build leaves files beside its configuration
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path)
    config = (tmp_path / "mkdocs.yml").read_text()
    (tmp_path / "mkdocs.yml").write_text(config.replace("paths: [.]", f"paths: [{ROOT}]"))
    build = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "site" / "api.html").read_text()
    assert "mimii_pl.backend._backend.BackEnd.fit_one" in api
    assert not [page.name for page in (tmp_path / "site").glob("*.html") if "--8" in page.read_text()]  # not included


def test_every_link_and_picture_is_there():
    broken = []
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not link.startswith("http") and not (page.parent / link).exists():
                broken.append(f"{page.name}: {link}")
    assert not broken


def test_pictures_are_small():
    assert all(path.stat().st_size < 150_000 for path in DOCS.glob("*.png"))


# --- the page of detectors -------------------------------------------------------------------------------------------
def test_the_page_of_detectors_is_fresh(make_detectors):
    assert (DOCS / "detectors.md").read_text() == make_detectors.page(), "run `python docs/make_detectors.py`"


def test_every_detector_has_a_section(make_detectors):
    shown = [name for family in make_detectors.families().values() for name in family]
    assert sorted(shown) == sorted(path.stem for path in CONF.glob("model/[!_]*.yaml"))
    known = {figure.key for figure in everything()}
    assert {key for keys in make_detectors.PAPERS.values() for key in keys} <= known


def test_a_detector_in_no_family_joins_that_of_its_base_class(make_detectors, monkeypatch):
    before = make_detectors.families()
    monkeypatch.setattr(make_detectors, "FAMILIES", {})
    after = make_detectors.families()
    for family in make_detectors.BASES.values():
        assert set(after[family]) <= {*before[family], *before["Classifiers of machine IDs"]}
    assert "conv_ae_image" in after["Others"]


# --- examples --------------------------------------------------------------------------------------------------------
def test_the_example_detector_trains_and_scores(extend):
    batch = Batch(torch.zeros(3, 512), *torch.zeros(3, 3, dtype=torch.long), spec=torch.randn(3, 1, 16, 20))
    detector = extend["LinearAE"].LinearAE((1, 16, 20), 2, bottleneck=4)
    detector.loss(batch).backward()
    assert detector.score(batch).shape == (3,)
    assert detector.embed(batch).shape == (3, 16, 4)
    assert "bottleneck" in detector.hparams


def test_the_example_without_training_keeps_the_mean_spectrum(extend):
    batch = Batch(torch.zeros(3, 512), *torch.zeros(3, 3, dtype=torch.long), spec=torch.randn(3, 1, 16, 20))
    detector = extend["MeanSpectrum"].MeanSpectrum((1, 16, 20), 2)
    detector.observe(batch)
    detector.finish_fit()
    torch.testing.assert_close(detector.state_dict()["mean"], batch.spec.mean(dim=(0, 1, 3)))
    louder = batch._replace(spec=batch.spec + 10)
    assert (detector.score(louder) > detector.score(batch)).all()


def test_the_example_back_end_finds_what_is_far(extend):
    normal = np.random.default_rng(0).standard_normal((50, 4))
    backend = extend["MedianDistance"].MedianDistance()
    backend.fit(normal, np.zeros(50, int))
    near, far = backend.score(np.array([[0.0] * 4, [9.0] * 4]), np.zeros(2, int))
    assert far > near
    again = extend["MedianDistance"].MedianDistance()
    again.load_state_dict(backend.state_dict())
    assert again.score(normal, np.zeros(50, int)) == pytest.approx(backend.score(normal, np.zeros(50, int)))


def test_the_example_data_set_reads_names(extend, tmp_path, caplog):
    presses = extend["Presses"].Presses.__new__(extend["Presses"].Presses)
    presses.root = tmp_path
    with pytest.raises(extend["Presses"].InputError, match="no recording of a press"):
        presses.discover()
    for name in ("press_02_bad_0001", "press_02_worn_0001", "notes"):
        (tmp_path / f"{name}.wav").touch()
    (clip,) = presses.discover()
    assert (clip.machine, clip.machine_id, clip.condition) == ("press", "02", "anomaly")
    assert "notes.wav is not named" in caplog.text
    assert "press_02_worn_0001.wav is not named" in caplog.text


def test_the_example_command_prints_the_highest_scores(extend, tmp_path, capsys):
    (tmp_path / "run.json").write_text("{}")
    rows = ["machine,id,domain,file,label,score,decision", "fan,id_00,,a.wav,0,1.0,0", "fan,id_00,,b.wav,1,2.0,1"]
    (tmp_path / "scores.csv").write_text("\n".join(rows))
    extend["top_clips"].top_clips(run=str(tmp_path), rows=1)
    assert capsys.readouterr().out.split() == ["2", "b.wav"]


def test_the_example_yamls_are_what_the_folders_hold():
    for block in blocks(DOCS / "extend.md", "yaml"):
        given = yaml.safe_load(block)
        assert "_self_" in given["defaults"]
        for base in (base for base in given["defaults"] if base != "_self_"):
            if isinstance(base, dict):
                ((override, choice),) = base.items()
                group = re.fullmatch(r"override /(\w+)(@_global_\.\1)?", override)[1]
                assert (CONF / group / f"{choice}.yaml").is_file()
            else:
                assert (CONF / place(block)[0] / f"{base}.yaml").is_file()


def place(block: str) -> tuple[str, str]:
    """Group and module that an example's yaml names, `("model", "mimii_pl.model.linear_ae")`."""
    node = yaml.safe_load(block)
    if "command" in node:
        return "command", node["command"].rpartition(".")[0]
    module = re.search(r"_target_: (\S+)\.\w+", block)[1]
    return module.split(".")[1], module


@pytest.mark.slow
def test_the_examples_pass_the_checks_of_the_project(tmp_path):
    """Written into a copy of the tree: style, types, imports, and the same defaults in yaml and signature."""
    for folder in ("mimii_pl", "conf", "tests/core"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if (ROOT / ".mypy_cache").is_dir():  # of `make lint`: the libraries need not be analysed again
        shutil.copytree(ROOT / ".mypy_cache", tmp_path / "mypy")
    sources, yamls = blocks(DOCS / "extend.md", "python"), blocks(DOCS / "extend.md", "yaml")
    sources = [source for source in sources if "Metric(" not in source]  # a record in a list is no module
    modules = []
    for source, block in zip(sources, yamls, strict=True):
        group, module = place(block)
        modules.append(f"{module.replace('.', '/')}.py")
        (tmp_path / modules[-1]).write_text(source)
        (tmp_path / "conf" / group / f"{Path(modules[-1]).stem}.yaml").write_text(block)
    bin_ = Path(sys.executable).parent
    names = " or ".join(Path(module).stem for module in modules)
    tests = ["-q", "-p", "no:cacheprovider", "-k", names, "tests/core/test_defaults.py"]
    for command in (
        [bin_ / "ruff", "check", "--no-cache", *modules],
        [bin_ / "ruff", "format", "--no-cache", "--check", *modules],
        [bin_ / "lint-imports", "--no-cache"],
        [bin_ / "mypy", "--cache-dir", tmp_path / "mypy", *modules],
        [sys.executable, "-m", "pytest", *tests],
    ):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(DOCS.glob("notebooks/*.py")), ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, path], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.name in (DOCS / "notebooks.md").read_text()


def test_every_notebook_is_a_notebook():
    for path in DOCS.glob("notebooks/*.py"):
        assert path.read_text().startswith("# %% [markdown]\n# # ")


# --- the screens -----------------------------------------------------------------------------------------------------
def test_the_pages_explain_the_columns_of_the_screens():
    sheets = [name for sheet in (RANKING, DECISIONS) for name in table_columns(_results(sheet), sheet)[1:]]
    costs = [cost.head for cost in COSTS.values()]
    leaderboard = ["#", *anomaly_board().heads.values()]
    for page, heads in (
        ("results", [*sheets, *ranking_heads().values()]),
        ("search", leaderboard),
        ("classify", [*CLASS_HEADS.values(), *OVERALL.values(), *EACH.values()]),
        ("cost", costs),
    ):
        text = (DOCS / f"{page}.md").read_text()
        assert not [head for head in heads if f"`{head}`" not in text], page


def _results(sheet) -> list[Result]:
    return [Result("fan", "id_00", name, 0.5) for name in (*sheet.metrics, *sheet.optional, *sheet.counts)]


def test_the_documents_name_every_command():
    text = (DOCS / "get_started.md").read_text()
    assert not [command for command in commands() if f"`mimii {command}`" not in text]
