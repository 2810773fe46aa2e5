"""The benchmarks, which measure for minutes, name nothing that has moved."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

from mimii_pl.core.config import CONF

SCRIPTS = sorted((CONF.parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_all_that_a_benchmark_imports_exists(path: Path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    for node in ast.walk(ast.parse(path.read_text())):  # inside functions too
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [name for name in names if not hasattr(module, name)] == []
        else:
            assert all(map(importlib.import_module, names))
