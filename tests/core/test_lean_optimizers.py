"""Optimizers take the same steps without torch's compiler, and a training does not import it."""

import json
import subprocess
import sys

import pytest
from support import world

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
