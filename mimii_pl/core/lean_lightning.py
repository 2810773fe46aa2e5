"""Leave out what Lightning imports on its own and a run does not use; importing this module is enough.

Lightning needs one class of torch's compiler and two of torchmetrics, and imports both packages whole: with them come
transformers, half of scipy, and more than half of the time until a command begins. Commands give Lightning these
classes alone; whoever asks for the rest later gets it.
"""

import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class _LightningFinder(MetaPathFinder):
    """Finds Lightning's outermost package once, and lets it be executed by a `_LeanLoader`."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in ("lightning_fabric", "pytorch_lightning"):
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _LeanLoader(spec.loader)
        return spec


class _LeanLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _compiler_left_out(), _torchmetrics_left_out():
            self.loader.exec_module(module)


class _IsCompiled(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        compiler = sys.modules.get("torch._dynamo")  # without it, nothing can have been compiled
        return compiler is not None and isinstance(instance, compiler.OptimizedModule)


class _CompiledModule(metaclass=_IsCompiled):
    """Class for `isinstance`: that of modules made by `torch.compile`."""


@contextmanager
def _compiler_left_out() -> Iterator[None]:
    """Provide the class, and keep functions as they are that Lightning excludes from compilation."""
    name = "torch._dynamo"
    if name in sys.modules:
        yield
        return

    def whole(attribute: str) -> Any:
        if attribute.startswith("__"):  # asked for by `import` itself
            raise AttributeError(attribute)
        sys.modules.pop(name)
        return getattr(importlib.import_module(name), attribute)

    part: Any = ModuleType(name)
    part.OptimizedModule, part.disable = _CompiledModule, lambda function, *_, **__: function
    part.__getattr__ = whole  # for another version of Lightning
    sys.modules[name] = part
    try:
        yield
    finally:
        if sys.modules.get(name) is part:
            del sys.modules[name]


@contextmanager
def _torchmetrics_left_out() -> Iterator[None]:
    """Import `Metric` and `MetricCollection` alone, without matplotlib; whoever imports the package gets it whole."""
    name, plots = "torchmetrics", "torchmetrics.utilities.plot"
    if name in sys.modules or (spec := find_spec(name)) is None:
        yield
        return
    package: Any = module_from_spec(spec)
    package._logger, package.__version__ = logging.getLogger(name), version(name)
    sys.modules[name], sys.modules[plots] = package, _plots(plots)
    try:
        importlib.import_module(f"{name}.utilities")  # the others need it
        package.Metric = importlib.import_module(f"{name}.metric").Metric
        package.MetricCollection = importlib.import_module(f"{name}.collections").MetricCollection
    except (ImportError, AttributeError):  # another version of torchmetrics: it is imported whole
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            del sys.modules[module]
    sys.modules.pop(plots, None)
    try:
        yield
    finally:
        if sys.modules.get(name) is package:
            del sys.modules[name]


def _plots(name: str) -> ModuleType:
    """Provide what metrics use of the module that imports matplotlib; it is imported when a metric is drawn."""
    part: Any = ModuleType(name)
    part._AX_TYPE = part._PLOT_OUT_TYPE = object
    part.plot_single_or_multi_val = lambda *args, **options: importlib.import_module(name).plot_single_or_multi_val(
        *args, **options
    )
    return part


if not {"lightning_fabric", "pytorch_lightning"} & set(sys.modules):
    sys.meta_path.insert(0, _LightningFinder())
