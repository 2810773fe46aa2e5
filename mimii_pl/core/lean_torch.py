"""Leave out of torch's import what eager computation does not use; importing this module before torch is enough.

Torch registers kernels for tensors without data, and with them all its decompositions, a third of the time that its
import takes. Only its compiler and exporter compute with such tensors: the first of their modules to be imported brings
the kernels.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

KERNELS = "torch._meta_registrations"
BRINGING = ("torch._dynamo", "torch._decomp", "torch._prims", "torch._refs", "torch.utils._content_store")


class _TorchFinder(MetaPathFinder):
    """Gives torch an empty module for the kernels, until a module is imported that needs them or that they import."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == KERNELS:
            return spec_from_loader(name, _Later())
        if name not in BRINGING:
            return None
        sys.meta_path.remove(self)
        sys.modules.pop(KERNELS, None)
        importlib.import_module(KERNELS)
        imported = sys.modules.get(name)
        if imported is None or imported.__spec__ is None:
            return None
        imported.__spec__.loader = _Imported(imported, imported.__spec__.loader)
        return imported.__spec__


class _Later(Loader):
    """Loader of the empty module."""

    def exec_module(self, module: ModuleType) -> None:
        def whole(attribute: str) -> Any:
            if attribute.startswith("__"):  # asked for by `import` itself
                raise AttributeError(attribute)
            importlib.import_module(BRINGING[0])
            return getattr(sys.modules[KERNELS], attribute)

        module.__getattr__ = whole  # type: ignore[method-assign]  # for another version of torch


class _Imported(Loader):
    """Loader of a module that the kernels have imported already: `import` would execute it again."""

    def __init__(self, module: ModuleType, loader: Any) -> None:
        self.module, self.loader = module, loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = self.loader


if "torch" not in sys.modules:
    sys.meta_path.insert(0, _TorchFinder())
