"""Commands import Lightning without what a run does not use, and those who ask for it get it."""

import subprocess
import sys

import pytest

LEFT_OUT = (
    "torch._dynamo",
    "torchmetrics",
    "torchmetrics.functional",
    "transformers",
    "scipy.signal",
    "mlflow",
    "matplotlib",
    "sklearn",
)
LEAN = f"""
import sys
import mimii_pl.__main__
assert not {{"numpy", "torch"}} & set(sys.modules)  # they read how many threads to use when they are imported
import mimii_pl.core.lean_lightning
import mimii_pl.run
assert not set({LEFT_OUT}) & set(sys.modules)
"""
WHOLE = """
import torch
from pytorch_lightning.core.module import Metric
from pytorch_lightning.utilities.compile import OptimizedModule
import torchmetrics.classification
assert torchmetrics.Metric is Metric and issubclass(torchmetrics.classification.BinaryAUROC, Metric)
figure, _ = torchmetrics.classification.BinaryAUROC().plot(torch.tensor(0.5))
assert type(figure).__module__ == "matplotlib.figure"
layer = torch.nn.Linear(2, 2)
assert not isinstance(layer, OptimizedModule) and isinstance(torch.compile(layer), OptimizedModule)
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.slow
def test_what_a_run_does_not_use_is_imported_when_it_is_asked_for():
    done = python(LEAN + WHOLE)
    assert done.returncode == 0, done.stderr
