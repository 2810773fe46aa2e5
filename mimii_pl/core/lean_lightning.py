"""Leave out what Lightning imports on its own and a run does not use; importing this module is enough.

Lightning needs one class of torch's compiler, one of triton and two of torchmetrics, and imports these packages whole:
with them come transformers, half of scipy, and more than half of the time until a command begins. Commands give
Lightning these classes alone; whoever asks for the rest later gets it.
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
        _import_flop_counter()
        with _compiler_left_out(), _torchmetrics_left_out():
            self.loader.exec_module(module)


class _OfOther(type):
    """Metaclass of a class for `isinstance` that stands for one of a module which may never be imported."""

    module: str
    other: str

    def __instancecheck__(cls, instance: Any) -> bool:
        module = sys.modules.get(cls.module)  # without it, there can be no instance
        return module is not None and isinstance(instance, getattr(module, cls.other))


class _CompiledModule(metaclass=_OfOther):
    """Modules made by `torch.compile`."""

    module, other = "torch._dynamo", "OptimizedModule"


class _TritonFunction(metaclass=_OfOther):
    """Functions made by `triton.jit`."""

    module, other = "triton.runtime.jit", "JITFunction"


def _import_flop_counter() -> None:
    """Import torch's counter of operations, which imports triton for one class."""
    names = "triton", "triton.runtime", "triton.runtime.jit"
    if any(name in sys.modules for name in names) or find_spec("triton") is None:
        return
    parts: dict[str, Any] = {name: ModuleType(name) for name in names}
    parts[names[-1]].JITFunction = _TritonFunction
    sys.modules.update(parts)
    try:
        importlib.import_module("torch.utils.flop_counter")
    finally:
        for name, part in parts.items():
            if sys.modules.get(name) is part:
                del sys.modules[name]


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
