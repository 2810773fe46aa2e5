"""Runs of a sweep have no page unless it is asked for; `mimii decide` makes it."""

import logging

import pytest
from support import world

from mimii_pl.__main__ import _omit_page
from mimii_pl.core.config import compose
from mimii_pl.core.stored_config import read_config
from mimii_pl.rerun import decide
from mimii_pl.run import run


@pytest.mark.parametrize(
    ("overrides", "page"),
    [
        ([], False),
        (["report=default"], True),
        (["report.clips=1"], True),
        (["report=brief"], True),
        (["task=classification"], True),
    ],
)
def test_a_page_is_made_if_it_was_asked_for(overrides, page):
    cfg = compose(overrides)
    _omit_page(cfg, overrides)
    assert cfg.report.page == page
    assert (cfg.choices.report == "none") != page


def test_decide_makes_the_page_of_a_run_without_one(tmp_path, caplog):
    root = world.write(tmp_path / "world", train=4, test=2, seconds=0.5)
    run_dir = tmp_path / "run"
    with caplog.at_level(logging.INFO):
        run(world.configured(root, "model=spectrum", "backend=none", "report=none"), run_dir)
    assert f"`mimii decide run={run_dir}` makes it" in caplog.text
    assert not (run_dir / "report.html").exists()
    assert not (run_dir / "embeddings.npz").exists()
    decide(compose([f"run={run_dir}", "report=brief", "threshold.quantile=0.8"], "command/decide"))
    kept = read_config(run_dir)
    assert (kept.choices.threshold, kept.threshold.quantile) == ("percentile", 0.8)  # the rule of the run
    assert (run_dir / "report.html").is_file()
