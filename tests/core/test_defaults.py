"""An option has one default: the yaml's value is the signature's, so a notebook builds what the command line builds.

The composed configuration has every option of a class, those that it passes on to its bases included.
"""

import inspect
from functools import cache
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mimii_pl.core.check import parameters
from mimii_pl.core.config import CONF, compose

PACKAGE = CONF.parent / "mimii_pl"
GROUPS = ("dataset", "protocol", "features", "augmentation", "model", "backend", "threshold", "task")
CHOICES = {  # without presets: a yaml with a name of its own differs from the class's defaults on purpose
    group: [
        path.stem
        for path in sorted(PACKAGE.glob(f"{group}/[!_]*.py"))
        if (CONF / group / f"{path.stem}.yaml").is_file()
    ]
    for group in GROUPS
}
TABLES = ("archives", "ground_truth", "members")  # of a data set, or tested elsewhere
GIVEN = {  # options that a run passes, and those that are only for code
    "dataset": {"machine", "protocol", "features", "target", "augmentation"},
    "model": {"in_shape", "n_ids", "n_classes"},
    "features": {"eps"},
    "task": {"names", "backend", "threshold", "target", "objective"},
}


def composed(group: str, number: int) -> DictConfig:
    """The node of a choice, as it is composed."""
    if group == "features":  # a detector may set other values for its own
        return _composed(("model=level", f"features={CHOICES[group][number]}"))[group]
    others = {name: choices for name, choices in CHOICES.items() if name != "features" and number < len(choices)}
    return _composed(tuple(f"{name}={choices[number]}" for name, choices in others.items()))[group]


@cache  # one configuration for a choice of every group
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    return compose(list(overrides))


def plain(value: Any) -> Any:
    """A value as a signature has it: lists for tuples, None for a container that holds nothing."""
    if isinstance(value, DictConfig):
        value = OmegaConf.to_container(value)
    if isinstance(value, dict):
        parts = {key: plain(part) for key, part in value.items()}
        return parts if any(part is not None for part in parts.values()) else None
    if OmegaConf.is_list(value) or isinstance(value, tuple | list):
        return [plain(part) for part in value] or None
    return value


def target(group: str, number: int) -> DictConfig:
    """The node that names the class of a choice."""
    node = composed(group, number)
    return node if "_target_" in node else node[CHOICES[group][number]]


every_choice = pytest.mark.parametrize(
    ("group", "number"),
    [
        pytest.param(group, number, id=f"{group}-{name}")
        for group, names in CHOICES.items()
        for number, name in enumerate(names)
    ],
)


@every_choice
def test_the_yaml_and_the_signature_have_the_same_default(group, number):
    node = target(group, number)
    differences = {}
    for name, parameter in inspect.signature(get_object(node._target_)).parameters.items():
        if name in TABLES or name not in node or parameter.default is parameter.empty:
            continue
        if not OmegaConf.is_interpolation(node, name) and plain(node[name]) != plain(parameter.default):
            differences[name] = node[name], parameter.default
    assert differences == {}


@every_choice
def test_the_composed_configuration_has_every_option(group, number):
    if CHOICES[group][number] == "synthetic":
        pytest.skip("it sets the options of the DCASE layout itself")
    node = target(group, number)
    assert parameters(node._target_).keys() - set(node) - GIVEN.get(group, set()) == set()


def test_there_are_defaults_to_compare():
    assert sum(len(names) for names in CHOICES.values()) > 50
