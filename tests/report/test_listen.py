"""Clips of a split to see and to hear."""

import re

import pytest
from support import world
from support.shut import shut

from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.report.listen import listen


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("listen") / "world", train=3, test=2)


def options(root, *more):
    return [f"dataset.root={root}", f"dataset.cache_dir={root.parent / 'cache'}", "clips=1", *more]


def test_every_id_and_condition_has_its_clips(root, tmp_path):
    page = tmp_path / "page.html"
    shown = listen(compose(options(root, "split=test", f"output={page}"), "command/listen"))
    assert page.read_text() == shown.page
    assert re.findall(r">(fan id_0\d, \w+)</h2>", shown.page) == [
        f"fan id_0{number}, {condition}" for number in (0, 2) for condition in ("anomaly", "normal")
    ]
    assert shown.page.count("<audio") == shown.page.count("data:image/webp") == 4
    assert "anomaly_id_00_00000000.wav" in shown.page


def test_a_notebook_shows_it(root):
    shown = listen(options(root, "split=train"))._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<audio" not in shown  # escaped


@pytest.mark.parametrize(("split", "message"), [("eval", "Use one of: train"), ("validation", "no clips in it")])
def test_mistakes_are_named(root, split, message):
    more = ["protocol.validation=0"] if split == "validation" else []
    with pytest.raises(InputError, match=message):
        listen(options(root, f"split={split}", *more))


def test_a_page_that_cannot_be_written_is_named_before_decoding(root, tmp_path, monkeypatch):
    monkeypatch.setattr("mimii_pl.report.listen.build_data", None)
    old = tmp_path / "old.html"
    old.write_text("kept")
    with shut(old), pytest.raises(InputError, match=r"old.html cannot be written: .*or set output=<another file>"):
        listen(compose(options(root, f"output={old}"), "command/listen"))
    with pytest.raises(InputError, match=r"cannot be written: Is a directory.*or set output="):
        listen(compose(options(root, f"output={tmp_path}"), "command/listen"))
    with shut(tmp_path), pytest.raises(InputError, match=rf"{tmp_path} cannot be written: .*or set output="):
        listen(compose(options(root, f"output={tmp_path}/new.html"), "command/listen"))
    assert old.read_text() == "kept"
