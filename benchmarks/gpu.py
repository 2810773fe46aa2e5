"""What one GPU does with the path of the sound: front ends, training, scoring. At most eight minutes.

    python benchmarks/gpu.py               # where there is no GPU, a small run on the CPU shows that it works

Busy is the share of the time in which a kernel runs (profiled for ten steps); waiting for data is the time between two
steps, of the time of a step. Memory is what torch has reserved at most. Goals: busy 90 % or more, waiting below 3 %.
"""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from _bench import DEVICES, data, medians, recordings, scorer, show, workplace
from torch.profiler import ProfilerActivity, profile

from mimii_pl.core.config import build
from mimii_pl.core.settings import quiet_lightning
from mimii_pl.features.log_mel import LogMel
from mimii_pl.features.stft import STFT
from mimii_pl.training import STEPS_PER_BATCH

DEVICE = DEVICES[-1]
SMALL = DEVICE == "cpu"
CLIPS = 64 if SMALL else 2048  # of 10 s, in training
SECONDS = 4.0 if SMALL else 8.0  # of training for each row
WARM_UP, PROFILED = (1 if SMALL else 3), 10  # steps before and within the profile
BATCHES = (8,) if SMALL else (32, 128, 512, 1024)
PRECISIONS = {"fp32": ("highest", "32-true"), "tf32": ("high", "32-true"), "bf16": ("high", "bf16-mixed")}


class Meter(pl.Callback):
    """Times steps and the waits between them, and profiles some steps on a GPU."""

    def __init__(self) -> None:
        self.steps, self.waits, self.busy, self.profiler = [], [], float("nan"), None

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        now = time.perf_counter()
        if self.steps:
            self.waits.append(now - self.ended)
        if DEVICE == "cuda" and len(self.steps) == WARM_UP:
            torch.cuda.synchronize()
            self.profiler = profile(activities=[ProfilerActivity.CUDA])
            self.profiler.start()
            self.since = time.perf_counter()
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.profiler is not None and len(self.steps) == WARM_UP + PROFILED - 1:
            torch.cuda.synchronize()
            wall = time.perf_counter() - self.since
            self.profiler.stop()
            self.busy = sum(event.self_device_time_total for event in self.profiler.key_averages()) / 1e6 / wall
            self.profiler = None
        self.ended = time.perf_counter()
        self.steps.append(self.ended - self.began)


def front_ends() -> None:
    rows = []
    wave = 0.1 * torch.randn(32, 160_000, device=DEVICE)
    for features in (STFT, LogMel):
        made = {engine: features(sample_rate=16000, engine=engine).to(DEVICE) for engine in ("torch", "nnaudio")}
        with torch.inference_mode():
            one, other = (made[engine](wave) for engine in ("torch", "nnaudio"))
            times = medians({name: lambda f=f: f(wave) for name, f in made.items()}, device=DEVICE)
        difference = float((one - other).abs().max() / one.abs().max())
        rows.append([features.__name__, 1e3 * times["torch"], 1e3 * times["nnaudio"], difference])
    show("32 clips of 10 s", ["features", "torch.stft, ms", "nnAudio, ms", "largest difference / largest value"], rows)


def trained(root: Path, model: str, batch: int, precision: str) -> list:
    """A row of the table: one training of SECONDS s."""
    matmul, lightning = PRECISIONS[precision]
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = matmul == "high"
    accelerator = "cpu" if SMALL else "gpu"
    options = [f"trainer.precision={lightning}", f"trainer.accelerator={accelerator}", f"dataset.batch_size={batch}"]
    cfg, module = data(root, f"model={model}", "training.epochs=1000", *options)
    detector = build(cfg.model, module.in_shape, 4)
    module.crop = detector.crop
    steps = 1
    if detector.small_steps:
        steps = module.steps_per_batch = STEPS_PER_BATCH
        detector.divide_batches(batch)
    meter = Meter()
    timer = pl.callbacks.Timer(duration={"seconds": SECONDS})
    cfg.trainer.callbacks = []
    trainer = build(cfg.trainer, callbacks=[meter, timer], enable_checkpointing=False, enable_progress_bar=False)
    if not SMALL:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    module.fit_features(trainer.strategy.root_device)
    try:
        trainer.fit(detector, module)
    except torch.OutOfMemoryError:
        return [model, precision, batch, "out of memory", "", "", ""]
    whole = sum(meter.steps[WARM_UP:]) + sum(meter.waits[WARM_UP:])
    per_second = steps * batch * len(meter.steps[WARM_UP:]) / whole if len(meter.steps) > WARM_UP else float("nan")
    if detector.small_steps:
        per_second *= detector.hparams.tile  # windows
    memory = float("nan") if SMALL else torch.cuda.max_memory_reserved() / 2**30
    waiting = 100 * sum(meter.waits[WARM_UP:]) / whole if whole else float("nan")
    return [model, precision, batch, per_second, 100 * meter.busy, waiting, memory]


def training(root: Path) -> None:
    rows = [
        trained(root, model, batch, precision)
        for model in ("complex_ssl", "dis_spec")
        for precision in PRECISIONS
        for batch in BATCHES
    ]
    rows += [trained(root, "dense_ae", batch, "fp32") for batch in BATCHES[:2]]
    heads = ["detector", "precision", "batch", "clips (dense_ae: windows)/s", "busy, %", "waiting, %", "memory, GiB"]
    show(f"training on {CLIPS} clips of 10 s, {SECONDS:g} s each", heads, rows)


def scoring(root: Path) -> None:
    rows = []
    for model in ("dense_ae", "complex_ssl", "dis_spec"):
        cfg, module = data(root, f"model={model}", "dataset.batch_size=128")
        module.fit_features(DEVICE)
        one = scorer(build(cfg.model, module.in_shape, 4), module, torch.device(DEVICE))
        waves, ids = module.of("train")
        count = min(len(ids), 32 if SMALL else 1024)
        took = medians({model: lambda one=one: one.score_waves(waves[:count], ids[:count])}, 3, DEVICE)[model]  # noqa: B023
        rows.append([model, count / took])
    show("scoring, decoded clips of 10 s, batches of 128", ["detector", "clips/s"], rows)


def distributed(root: Path) -> None:
    count = torch.cuda.device_count()
    if count < 2:
        print(f"ddp: {count} GPUs, so none")
        return
    rows = []
    for devices in (1, count):
        strategy = ["trainer.strategy=ddp_notebook"] if devices > 1 else []
        cfg, module = data(root, "model=complex_ssl", "trainer=gpu", f"trainer.devices={devices}", *strategy)
        detector = build(cfg.model, module.in_shape, 4)
        module.crop = detector.crop
        cfg.trainer.callbacks = []
        trainer = build(cfg.trainer, max_epochs=2, enable_checkpointing=False, enable_progress_bar=False)
        module.fit_features("cpu")
        began = time.perf_counter()
        trainer.fit(detector, module)
        rows.append([devices, 2 * CLIPS / (time.perf_counter() - began)])
    show("complex_ssl, two epochs", ["GPUs", "clips/s"], rows)


if __name__ == "__main__":
    quiet_lightning()
    print(torch.cuda.get_device_name() if DEVICE == "cuda" else "no GPU: a small run on the CPU")
    front_ends()
    with workplace() as folder:
        root = recordings(Path(folder), train=CLIPS)
        training(root)
        scoring(root)
        distributed(root)
