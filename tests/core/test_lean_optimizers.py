"""Optimizers take the same steps without torch's compiler or their bookkeeping, and a training imports no compiler."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from support import world
from torch import nn

from mimii_pl.core.lean_optimizers import LeanAdam

STEPS = """
import json, sys, torch
from mimii_pl.core.lean_optimizers import leave_compiler_out
if sys.argv[1] == "lean":
    leave_compiler_out()
    leave_compiler_out()
torch.manual_seed(0)
weights = []
for kind in (torch.optim.Adam, torch.optim.AdamW):
    layer = torch.nn.Linear(3, 2)
    optimizer = kind([{"params": [layer.weight]}, {"params": [layer.bias], "lr": 0.1}], fused=True)
    for step in range(5):
        optimizer.zero_grad()
        layer(torch.full((4, 3), float(step))).square().mean().backward()
        if step == 3:
            optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step()
    optimizer.step(lambda: layer(torch.ones(1, 3)).sum())
    weights += [layer.weight.tolist(), layer.bias.tolist()]
print(json.dumps([weights, "torch._dynamo" in sys.modules]))
"""
TRAIN = """
import sys
from mimii_pl.__main__ import main
main(sys.argv[1:])
assert not {"torch._dynamo", "sympy"} & set(sys.modules)
"""


def steps(how):
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_steps_are_the_same():
    (lean, imported), (whole, imports) = steps("lean"), steps("whole")
    assert lean == whole
    assert (imported, imports) == (False, True)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dense_ae", "stgram"])
def test_no_training_imports_the_compiler(tmp_path, model):
    root = world.write(tmp_path / "world", train=4, test=2)
    options = [
        f"model={model}",
        "machine=fan",
        "training.epochs=1",
        "logger=none",
        "report=none",
        f"dataset.root={root}",
    ]
    command = [sys.executable, "-c", TRAIN, "train", *options, f"hydra.run.dir={tmp_path}/run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


# --- Adam without its bookkeeping ------------------------------------------------------------------------------------
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 2), nn.Linear(2, 1))


def take_steps(layers, optimizer, steps, *, seed, without=None):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        layers(torch.randn(8, 3, generator=generator)).square().mean().backward()
        if without is not None:
            without.grad = None
        optimizer.step()


def resumed(optimizer, layers):
    """A new optimizer of the same kind, of copies of the layers, with the state as it is stored."""
    layers = copy.deepcopy(layers)
    again = LeanAdam(layers.parameters(), lr=0.5)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return layers, again


def trained(kind, *, lose_gradient=False, resume=False):
    layers = network()
    optimizer = kind(layers.parameters())
    take_steps(layers, optimizer, 4, seed=1)
    optimizer.param_groups[0]["lr"] = 3e-3  # as a schedule does
    take_steps(layers, optimizer, 3, seed=2, without=layers[0].weight if lose_gradient else None)
    if resume:
        layers, optimizer = resumed(optimizer, layers)
    take_steps(layers, optimizer, 4, seed=3)
    return layers, optimizer


def torch_adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)


def lean_adam(parameters):
    return LeanAdam(parameters, lr=1e-3)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("lose_gradient", [False, True])
def test_lean_adam_takes_the_steps_of_adam(lose_gradient, resume):
    layers, optimizer = trained(torch_adam, lose_gradient=lose_gradient)
    lean_layers, lean_optimizer = trained(lean_adam, lose_gradient=lose_gradient, resume=resume)
    state, lean_state = optimizer.state_dict(), lean_optimizer.state_dict()
    for weights, lean_weights in zip(layers.parameters(), lean_layers.parameters(), strict=True):
        assert torch.equal(weights, lean_weights)
    assert state["param_groups"] == lean_state["param_groups"]
    assert state["state"].keys() == lean_state["state"].keys()
    for number, values in state["state"].items():
        assert all(torch.equal(value, lean_state["state"][number][name]) for name, value in values.items())
        assert int(values["step"]) == (8 if lose_gradient and number == 0 else 11)


def test_what_lean_adam_stores_is_continued_by_adam(tmp_path):
    layers, optimizer = trained(lean_adam)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    after = torch_adam(network().parameters())
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    copied = copy.deepcopy(layers)
    after.param_groups[0]["params"][:] = list(copied.parameters())
    after.state.update(zip(copied.parameters(), list(after.state.values()), strict=True))
    for layer, one in ((layers, optimizer), (copied, after)):
        take_steps(layer, one, 3, seed=4)
    assert all(torch.equal(*pair) for pair in zip(layers.parameters(), copied.parameters(), strict=True))


def test_lean_adam_collects_again_after_a_group_is_added_and_takes_closures():
    both = []
    for kind in (torch_adam, lean_adam):
        layers = network()
        optimizer = kind(layers[:4].parameters())
        take_steps(layers, optimizer, 3, seed=1)
        optimizer.add_param_group({"params": layers[4].parameters(), "lr": 0.1})
        take_steps(layers, optimizer, 3, seed=2)
        loss = optimizer.step(lambda layers=layers: layers(torch.ones(2, 3)).sum())
        both.append([loss.item(), *(weights.tolist() for weights in layers.parameters())])
    assert both[0] == both[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda one, _: one.state.clear(),
        lambda one, layers: one.state.pop(layers[0].weight),
        lambda one, layers: one.state.update({layers[3].bias: copy.deepcopy(one.state[layers[3].bias])}),
        lambda one, _: one.param_groups[0]["params"].pop(),
        lambda one, _: one.param_groups[0].update(maximize=True),
        lambda one, layers: LightningOptimizer(one).add_param_group({"params": layers[4].parameters()}),
    ],
    ids=["state lost", "one state lost", "a state replaced", "a parameter less", "maximize", "group by Lightning"],
)
def test_lean_adam_notices_what_others_change(change):
    both = []
    for kind in (torch_adam, lean_adam):
        layers = network()
        optimizer = kind(layers[:4].parameters())
        take_steps(layers, optimizer, 3, seed=1)
        change(optimizer, layers)
        take_steps(layers, optimizer, 3, seed=2)
        states = [[value.tolist() for value in state.values()] for state in optimizer.state.values()]
        both.append([states, *(weights.tolist() for weights in layers.parameters())])
    assert both[0] == both[1]


def test_lean_adam_does_no_bookkeeping_from_its_second_step_on(monkeypatch):
    layers = network()
    optimizer = lean_adam(layers.parameters())
    take_steps(layers, optimizer, 1, seed=1)
    monkeypatch.setattr(torch.optim.Adam, "step", None)  # is not called again
    before = layers[0].weight.clone()
    take_steps(layers, optimizer, 2, seed=2)
    assert not torch.equal(before, layers[0].weight)
    optimizer.zero_grad(set_to_none=False)
    assert not layers[0].weight.grad.any()
