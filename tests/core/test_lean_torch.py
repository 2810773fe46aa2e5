"""Commands import torch without kernels for tensors that have no data, and those who ask for them get them."""

import json
import subprocess
import sys

import pytest

COUNT = """
import json, sys
if sys.argv[1] == "lean":
    import mimii_pl.core.lean_torch
import torch
assert ("torch._decomp" in sys.modules) == (sys.argv[1] == "whole")
exec(sys.argv[2])
import torch._decomp
places = [torch.empty(count, 2, device="meta") for count in (3, 5)]
tables = {name: len(table) for name, table in torch._decomp.global_decomposition_table.items()}
print(json.dumps([tables, len(vars(torch._meta_registrations)), list(torch.cdist(*places).shape)]))
"""
ASKING = {  # whoever imports what needs the kernels, or is imported by them
    "compiler": "torch.compile(torch.nn.Linear(2, 2))",
    "decompositions": "import torch._decomp",
    "primitives": "import torch._prims",
    "references": "import torch._refs",
    "store": "import torch.utils._content_store",
    "exporter": "torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))",
    "ONNX": "from torch.onnx._internal.exporter import _core",
    "fake tensors": "from torch._subclasses import FakeTensorMode; FakeTensorMode()",
    "a kernel": "torch._meta_registrations.meta_cdist_forward",
}


def counted(how, code):
    command = [sys.executable, "-W", "ignore", "-c", COUNT, how, code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole():
    return counted("whole", "")


@pytest.mark.slow
@pytest.mark.parametrize("asked", ASKING)
def test_what_asks_for_them_has_all(whole, asked):
    assert counted("lean", ASKING[asked]) == whole
