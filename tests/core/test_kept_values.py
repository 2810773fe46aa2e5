"""Values that are kept beside what they were computed from."""

import json

import pytest

from mimii_pl.core.files import KeptValue


def computed(calls, value):
    def compute():
        calls.append(value)
        return value

    return compute


def is_list(value):
    if not isinstance(value, list):
        raise TypeError("no list")


def test_a_value_is_computed_once_for_all_that_it_depends_on(tmp_path):
    calls = []
    value = {"a": [1.5, None, "\udcff é"]}
    kept = KeptValue(tmp_path, "levels", [1, "x"], repr)
    assert not kept.known
    assert kept.get(computed(calls, value)) == value
    assert kept.known
    assert KeptValue(tmp_path, "levels", [1, "x"], repr).get(computed(calls, "another")) == value
    assert KeptValue(tmp_path, "levels", [2, "x"], repr).get(computed(calls, "of another key")) == "of another key"
    assert calls == [value, "of another key"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[", b"5", b"null", b"NaN", b'"abc"', b'{"a": 1}', pytest.param(b"[" * 10**5, id="deep")],
)
def test_a_damaged_file_is_computed_again(tmp_path, content):
    kept = KeptValue(tmp_path, "levels", 1, is_list)
    kept.path.write_bytes(content)
    assert not kept.known
    assert kept.get(lambda: [3]) == [3]
    assert json.loads(kept.path.read_text()) == [3]


def test_a_value_that_cannot_be_kept_is_computed_all_the_same(tmp_path):
    assert KeptValue(tmp_path / "missing", "levels", 1, repr).get(lambda: 5) == 5
    assert not (tmp_path / "missing").exists()
