"""Docstrings say what a thing does or is, and the formatter alone breaks lines."""

import ast
import re
from pathlib import Path

import pytest

from mimii_pl.core.config import CONF

ROOT = CONF.parent
MODULES = sorted((ROOT / "mimii_pl").rglob("*.py"))
QUESTION = re.compile(r"(what|where|whether|how|which|who|whose|why|when)\b", re.IGNORECASE)
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_begins_like_a_question(path: Path):
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, DOCUMENTED)]
    docstrings = [ast.get_docstring(node) or "" for node in nodes]
    assert [text.splitlines()[0] for text in docstrings if QUESTION.match(text)] == []


@pytest.mark.parametrize("folder", ["mimii_pl", "tests", "benchmarks"])
def test_the_formatter_breaks_the_lines(folder):
    marker = "# fmt: " + "skip"
    assert [str(path) for path in (ROOT / folder).rglob("*.py") if marker in path.read_text()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_messages_are_quoted_for_the_shell(path: Path):
    named = re.compile(r"mimii [a-z]+ [a-z.]+=(?:%s|\{(?!shlex))")  # a key before the value, and no quotes around both
    assert [line for line in path.read_text().splitlines() if named.search(line)] == []
