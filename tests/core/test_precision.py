"""`trainer.precision=auto`: bfloat16 where the CPU has it and the detector gains from it, and nowhere else."""

import pytest
import torch
from omegaconf import OmegaConf

from mimii_pl.core.config import compose
from mimii_pl.core.freeze import freeze_config


@pytest.mark.parametrize(
    ("model", "instructions", "expected"),
    [
        ("complex_ssl", {"avx512_bf16": True}, "bf16-mixed"),
        ("complex_ssl", {"amx_bf16": True, "avx512_bf16": False}, "bf16-mixed"),
        ("complex_ssl", {"avx2": True}, "32-true"),
        ("dense_ae", {"avx512_bf16": True}, "32-true"),
    ],
)
def test_the_choice_is_frozen(model, instructions, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    frozen = freeze_config(compose([f"model={model}", "trainer=cpu", "trainer.precision=auto"]), tmp_path)
    assert frozen.trainer.precision == expected
    assert OmegaConf.load(tmp_path / "config.yaml").trainer.precision == expected


def test_a_precision_that_is_named_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    frozen = freeze_config(compose(["model=dense_ae", "trainer=cpu", "trainer.precision=bf16-mixed"]), tmp_path)
    assert frozen.trainer.precision == "bf16-mixed"
