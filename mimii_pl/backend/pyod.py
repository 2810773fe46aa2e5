"""Any detector of the PyOD library."""

import importlib
import inspect
from collections.abc import Collection
from typing import Any

import numpy as np

from mimii_pl.backend._estimator import Estimator
from mimii_pl.core.errors import InputError
from mimii_pl.core.skops_io import ESTIMATOR_TYPES

OTHER_CLASSES = ("pyod.models.kpca.PyODKernelPCA",)  # classes of PyOD that its detectors are made of


class PyOD(Estimator):
    """Any detector of the PyOD library (Zhao et al., JMLR 2019), which is an extra: `pip install 'mimii_pl[pyod]'`.

    Args:
        detector: module name in `pyod.models`, for example `ecod`, `copod`, `hbos`, `inne`.
        options: keyword arguments of its constructor.
        **fitting: see `Estimator`.
    """

    def __init__(self, *, detector: str = "ecod", options: dict | None = None, **fitting: Any) -> None:
        super().__init__(**fitting)
        self.detector, self.options = detector, options or {}

    @property
    def types(self) -> Collection[str]:
        detector = self._class()
        return {*ESTIMATOR_TYPES, f"{detector.__module__}.{detector.__qualname__}", *OTHER_CLASSES}

    def make(self, n: int) -> Any:
        return self._class()(**self.options)

    def _class(self) -> type:
        name = self.detector.lower()
        try:
            module = importlib.import_module(f"pyod.models.{name}")
        except ModuleNotFoundError as error:
            if error.name == "pyod":
                raise InputError("backend=pyod needs the PyOD library: run pip install 'mimii_pl[pyod]'") from None
            raise InputError(f"backend.detector={self.detector}: no such module in pyod.models ({error})") from None
        classes = [cls for key, cls in inspect.getmembers(module, inspect.isclass) if key.lower() == name]
        if not classes:
            raise InputError(f"backend.detector={self.detector}: pyod.models.{self.detector} has no class of that name")
        return classes[0]

    def anomaly(self, estimator: Any, x: np.ndarray) -> np.ndarray:
        return estimator.decision_function(x)
