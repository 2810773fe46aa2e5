"""The wheel: installed in an empty environment it brings the commands, the configuration and the report's page."""

import subprocess
import sys
import sysconfig
import zipfile

import pytest

from mimii_pl.core.config import CONF

ROOT = CONF.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_every_config_and_template_is_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"mimii_pl/conf/{path.relative_to(CONF)}" for path in CONF.rglob("*.yaml")} <= names
    assert {
        f"mimii_pl/report/{name}" for name in ("page.html.j2", "table.html.j2", "compare.html.j2", "published.csv")
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "data/", "outputs/"))]


@pytest.mark.slow
def test_installed_elsewhere_it_gives_the_same_commands(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with open(
        f"{purelib}/dependencies.pth", "w"
    ) as file:  # the dependencies of this environment, not their gigabytes again
        file.write(sysconfig.get_path("purelib"))
    for command, expected in (
        (["mimii-train", "--cfg", "job", "model=dense_ae", "machine=bldc"], "mimii_pl.model.dense_ae.DenseAE"),
        (["mimii-train", "--help"], "Examples"),
        (["mimii-score", "--help"], "run=latest"),
    ):
        program = [tmp_path / "venv" / "bin" / command[0], *command[1:]]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    where = subprocess.run(
        [python, "-c", "import mimii_pl._config as c; print(c.CONF)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(tmp_path))
