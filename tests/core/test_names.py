"""One public name has one meaning in the whole package."""

import ast
import re
from collections import defaultdict
from pathlib import Path

from mimii_pl.core.config import CONF

PACKAGE = CONF.parent / "mimii_pl"
EXEMPT = {"log"}  # the logger of each module


def defined(path: Path) -> set[str]:
    """Public functions, classes and constants at the top level of a module."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {part.id for target in targets if target for part in ast.walk(target) if isinstance(part, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def chosen() -> set[str]:
    """Classes that a `_target_` of conf/ names: their module says which of them is meant."""
    texts = [path.read_text() for path in CONF.rglob("*.yaml")]
    return {target.rpartition(".")[2] for text in texts for target in re.findall(r"_target_: (mimii_pl\.\S+)", text)}


def test_no_public_name_is_defined_in_two_modules():
    places = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in defined(path) - EXEMPT - chosen():
            places[name].append(str(path.relative_to(PACKAGE)))
    assert len(places) > 300
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
