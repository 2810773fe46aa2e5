"""Costs of a run: counts checked by hand, sizes against files, peaks of memory that belong to one run."""

import math
import sys

import numpy as np
import pytest
import torch

from mimii_pl.core.config import build, compose
from mimii_pl.core.memory import keep_freed_memory, peak_bytes, reset_peak
from mimii_pl.core.run_dir import read_facts, write_facts
from mimii_pl.model.complex_ssl import BLOCKS
from mimii_pl.report import cost as shown
from mimii_pl.scoring import cost
from mimii_pl.scoring.scorer import Scorer

FRAMES, SAMPLES = 64, 63 * 512  # of a clip at hop 512


def untrained(*overrides) -> Scorer:
    cfg = compose([*overrides, "features.normalize=none"])
    features = build(cfg.features)
    detector = build(cfg.model, features.shape(SAMPLES), 4)
    return Scorer(detector, features, labels=["fan/id_00"], sample_rate=16000, samples=SAMPLES)


def macs(scorer, clips=1) -> int:
    waves = np.random.default_rng(0).integers(-99, 99, (clips, SAMPLES), np.int16)
    return cost.multiply_accumulates(scorer, waves, np.zeros(clips, int))


def test_dense_layers_are_counted_as_by_hand():
    scorer = untrained("model=dense_ae")
    per_window = 2 * (640 * 128 + 3 * 128 * 128 + 128 * 8)  # the decoder mirrors the encoder
    assert macs(scorer) == (FRAMES - 4) * per_window
    assert macs(scorer, clips=3) == 3 * macs(scorer)


def test_complex_convolutions_are_counted_as_by_hand():
    height, width, products, total = 513, FRAMES, 4, 0  # the first layer takes four real convolutions, the others three
    for c_in, c_out, kernel, stride, padding in BLOCKS:
        height, width = (
            (size + 2 * pad - k) // step + 1
            for size, k, step, pad in zip((height, width), kernel, stride, padding, strict=True)
        )
        total += products * c_in * c_out * math.prod(kernel) * height * width
        products = 3
    branches = (height + 2 - 5) // 2 + 1
    total += 4 * (45 + 90) * 5 * branches * width  # magnitude and complex branch
    total += (8 * 8 * 3 + 8 * 4) * branches * width + 2 * 8 * 32  # attention, fusion
    counted = macs(untrained("model=complex_ssl"))
    assert counted == total + 4 * 4  # the classifier of the fused branch
    assert 2 * counted / 0.75 == pytest.approx(3.1e9, rel=0.03)  # published, with four products in every layer


def test_layers_that_run_as_one_operation_are_counted():
    windows, frames, width = FRAMES - 4, 5, 64
    attention = frames * (4 * width**2 + 2 * frames * width)
    dense = 2 * frames * width**2 + 2 * (frames * width * 128 + 128 * 64)
    assert macs(untrained("model=attention_ae")) == windows * (dense + 2 * attention)
    scorer = untrained("model=lstm_ae")
    weights = sum(p.numel() for p in scorer.detector.parameters() if p.ndim == 2)  # each used once per frame
    assert macs(scorer) == windows * frames * weights


def test_the_measurement_keeps_to_its_budget_and_leaves_the_scorer_alone():
    scorer = untrained("model=level")
    scorer.detector.eval()
    waves = np.ones((2, SAMPLES), np.int16)
    short = cost.measure(scorer, waves, np.zeros(2, int), 1e-9)
    assert (short.macs, short.best_batch) == (None, 1)
    assert short.ms_per_clip == short.ms_per_clip_best_batch > 0
    long = cost.measure(scorer, waves, np.zeros(2, int), 0.2)
    assert long.macs == 0
    assert long.best_batch in cost.BATCHES
    assert long.ms_per_clip_best_batch <= long.ms_per_clip
    assert scorer.batch_size == 32


@pytest.mark.parametrize("seconds", [0, 1e-9])
def test_times_stay_beside_the_device_they_were_measured_on(seconds, tmp_path, monkeypatch):
    scorer, waves, ids = untrained("model=level"), np.ones((2, SAMPLES), np.int16), np.zeros(2, int)
    write_facts(tmp_path, checkpoint="best.ckpt")
    facts = []
    for device, budget in (("first", seconds), ("second", seconds), ("third", 1e-9), ("fourth", 1e-9)):
        monkeypatch.setattr(cost, "device_name", lambda *_, device=device: device)
        cost.write_cost(scorer, waves, ids, tmp_path, budget)
        facts.append(read_facts(tmp_path))
    measured = "first" if seconds else "third"
    assert [fact["device"] for fact in facts] == ["first", "first", measured, measured]
    assert facts[2]["ms_per_clip"] == facts[3]["ms_per_clip"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can reset the peak")
def test_a_run_does_not_inherit_the_memory_of_the_one_before():
    keep_freed_memory()
    cpu, grown = torch.device("cpu"), []
    for mebibytes in (300, 1):
        assert reset_peak()
        before = peak_bytes(cpu)
        torch.ones(mebibytes, 2**18)
        grown.append((peak_bytes(cpu) - before) / 2**20)
    assert 290 < grown[0] < 400
    assert grown[1] < 50


def test_figures_have_units_and_three_digits():
    facts = {
        "parameters": 859_366,
        "size_bytes": 3_277_598,
        "train_seconds": 1234.5,
        "peak_memory_bytes": 2**30,
        "macs": 1_173_448_436,
        "ms_per_clip": 0.05123,
        "best_batch": 256,
        "clips_per_second": 1602.9,
    }
    text = shown.cost_cells(facts)
    assert list(text.values()) == [
        "859k",
        "3.28 MB",
        "1234 s",
        "-",
        "1024 MiB",
        "1.17 GMAC",
        "0.0512 ms",
        "-",
        "256",
        "1603",
    ]
    assert [shown.cost_cell("macs", value) for value in (0, 512, 81_635_328, math.nan)] == [
        "0 MAC",
        "512 MAC",
        "81.6 MMAC",
        "-",
    ]
    assert shown.cost_rows({}) == []
