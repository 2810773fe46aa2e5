"""Base classes of detectors: everything that one of ours subclasses, a user can import."""

from hydra.utils import get_class
from omegaconf import OmegaConf

import mimii_pl.model
from mimii_pl.core.config import CONF
from mimii_pl.model import Detector


def test_the_base_classes_of_detectors_are_public():
    for file in CONF.joinpath("model").glob("[!_]*.yaml"):
        target = OmegaConf.select(OmegaConf.load(file), "model._target_")
        if target is None:  # a preset
            continue
        bases = [base for base in get_class(target).__mro__[1:] if issubclass(base, Detector)]
        assert bases
        assert {base.__name__ for base in bases} <= set(mimii_pl.model.__all__)
