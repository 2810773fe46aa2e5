"""Optimizers of torch without its compiler, which every one of them imports: longer than many a run takes."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.optim import Adam, Optimizer


def leave_compiler_out() -> None:
    """Let Adam and AdamW work without importing torch's compiler; what they compute is the same.

    They import it to tell it which functions it shall not compile, but nothing is compiled here. Others, and another
    version of torch whose functions are built in another way, stay as they are.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        function = getattr(Optimizer, name)
        setattr(Optimizer, name, getattr(function, "__wrapped__", function))
    step: Callable[..., Any] | None = getattr(Adam.step, "__wrapped__", None)
    if step is None or getattr(Adam.step, "hooked", False):  # torch has wrapped it once more, for an optimizer
        return

    @wraps(step)
    def without_compiler(self: Adam, *args: Any, **options: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **options)

    del without_compiler.__wrapped__  # so that it is not taken off again
    Adam.step = without_compiler  # type: ignore[method-assign]
