"""Optimizers of torch without its compiler, which every one of them imports, and without their bookkeeping."""

from collections.abc import Callable
from functools import wraps
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer


class _Updated(NamedTuple):
    """All that a step of Adam updates; `steps` are views of `taken`, the number of steps of each parameter."""

    parameters: list[Tensor]
    states: list[dict[str, Tensor]]
    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]
    taken: Tensor


class LeanAdam(Adam):
    """Adam, whose steps on a CPU collect nothing that is as it was at the step before; it computes the same.

    A step of a small network takes an eighth less time. State, checkpoints and options are those of torch's Adam with
    `fused=True`, which also takes the steps where anything is special: several groups, options other than `lr`,
    another device, a parameter without a gradient.

    Args:
        parameters: of a module.
        lr: learning rate.
    """

    _updated: _Updated | None = None  # None: to be collected after the next step

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr=lr, fused=True)

    def step(self, closure: Any = None) -> Any:
        """Take a step; return the loss of the closure, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        updated = self._updated
        grads = [] if updated is None else [parameter.grad for parameter in updated.parameters]
        with torch.no_grad():
            if updated is None or any(grad is None for grad in grads) or not self._is_current(updated):
                super().step()
                self._updated = self._collected()
            else:
                self._update(updated, grads)
        return loss

    def _update(self, updated: _Updated, grads: list[Any]) -> None:
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        updated.taken.add_(1)
        torch._fused_adam_(  # what Adam's step ends in
            updated.parameters,
            grads,
            updated.first,
            updated.second,
            [],
            updated.steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _is_current(self, updated: _Updated) -> bool:
        """Return True if nobody has changed groups, parameters or their state since they were collected."""
        parameters = self.param_groups[0]["params"]
        if _is_special(self.param_groups) or len(parameters) != len(updated.parameters):
            return False
        same = all(map(is_, parameters, updated.parameters))
        return same and all(map(is_, map(self.state.get, updated.parameters), updated.states))

    def _collected(self) -> _Updated | None:
        """Collect what the next steps update; None if they have to be torch's."""
        parameters = list(self.param_groups[0]["params"])
        if _is_special(self.param_groups) or parameters[0].device.type != "cpu":
            return None
        alike = len({(parameter.device, parameter.dtype) for parameter in parameters}) == 1
        if not alike or not all(self.state.get(parameter) for parameter in parameters):
            return None
        states = [self.state[parameter] for parameter in parameters]
        taken = torch.stack([state["step"] for state in states])
        steps = list(taken.unbind())
        for state, step in zip(states, steps, strict=True):
            state["step"] = step
        first, second = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        return _Updated(parameters, states, first, second, steps, taken)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients, or set them to zero."""
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def _is_special(groups: list[dict[str, Any]]) -> bool:
    options = ("amsgrad", "maximize", "capturable", "decoupled_weight_decay")
    return len(groups) > 1 or any(groups[0][name] for name in options)


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
