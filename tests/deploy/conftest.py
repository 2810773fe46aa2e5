"""Exports of one process share onnxscript's table of functions, which takes a second to make."""

from functools import cache

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_table_of_functions():
    from torch.onnx._internal.exporter._registration import onnxscript_apis

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxscript_apis, "get_torchlib_ops", cache(onnxscript_apis.get_torchlib_ops))
        yield
