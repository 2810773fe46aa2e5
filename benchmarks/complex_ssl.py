"""Training step of complex_ssl against four plain convolutions; scoring; the published work."""

import logging
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from _bench import DEVICES, data, medians, peak_mib, recordings, scorer, show, workplace
from torch import Tensor, nn

from mimii_pl.core.config import build
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._complex import ComplexConv2d, Parts, PerPart
from mimii_pl.model.complex_ssl import ComplexSSL

BATCH, PUBLISHED = 32, 63.0  # clips; seconds on two cores for the work of `published_work`


class FourConvolutions(nn.Module):
    """The textbook form: four real convolutions, two additions."""

    def __init__(self, conv: ComplexConv2d) -> None:
        super().__init__()
        self.real, self.imag = conv.real, conv.imag
        self.options = {"stride": conv.stride, "padding": conv.padding}

    def forward(self, z: Parts) -> Parts:
        (x, y), a, b = z, self.real, self.imag
        real = F.conv2d(x, a, **self.options) - F.conv2d(y, b, **self.options)
        return real, F.conv2d(x, b, **self.options) + F.conv2d(y, a, **self.options)


def plain() -> ComplexSSL:
    """The same network in that form, with torch's PReLU."""
    model = ComplexSSL((2, 513, 313), 4)
    for block in model.trunk:
        block[0] = FourConvolutions(block[0])
        block[2] = PerPart(lambda width=block[0].real.shape[0]: nn.PReLU(width))
    return model


def step(model: ComplexSSL, batch: Batch):
    """One training step, as a function to time."""
    optimizer = model.train().configure_optimizers()

    def work() -> None:
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()

    return work


def batch_on(device: str) -> Batch:
    spec, ids = torch.randn(BATCH, 2, 513, 64, device=device), torch.arange(BATCH, device=device) % 4
    return Batch(spec, ids, ids, ids, spec)


def training_steps(device: str) -> None:
    batch = batch_on(device)
    four = "four convolutions"
    work = {four: step(plain().to(device), batch), "complex_ssl": step(ComplexSSL((2, 513, 313), 4).to(device), batch)}
    times = medians(work, repeats=5, device=device)
    rows = [[name, value, BATCH / value, times[four] / value] for name, value in times.items()]
    if device == "cpu":  # what anyone gets who does not ask glibc to keep freed memory
        done = subprocess.run([sys.executable, __file__, "as torch comes"], capture_output=True, text=True, check=True)
        value = float(done.stdout.split()[-1])
        rows.insert(0, [f"{four}, memory given back", value, BATCH / value, times[four] / value])
    show(f"training step, {BATCH} windows of 64 frames, {device}", ["form", "s", "windows/s", "times faster"], rows)


def one_window(spec: Tensor) -> Tensor:
    """As the published implementation hears a clip: 64 frames of it."""
    return spec[:, None, ..., :64]


def published_work(root: Path) -> None:
    """One epoch over 216 clips of 10 s, 24 validation clips, 120 test clips; one 64-frame window of each."""
    started = time.perf_counter()
    cfg, module = data(root, "model=complex_ssl", "trainer=default", "training.epochs=1")
    model = build(cfg.model, module.in_shape, 4)
    module.crop, model.windows = model.crop, one_window
    trainer = build(cfg.trainer)
    module.fit_features(trainer.strategy.root_device)
    trainer.fit(model, module)
    trained = time.perf_counter() - started
    rows = [["decode, train 216, validate 24", trained, ""]]
    every = ComplexSSL.windows.__get__(model)
    for windows, which in (
        (one_window, "one window"),
        (every, "every window"),
    ):
        model.windows = windows
        begun = time.perf_counter()
        scorer(model, module, trainer.strategy.root_device).score_waves(*module.of("test"))
        took = time.perf_counter() - begun
        rows += [[f"score 120 test clips, {which}", took, 120 / took]]
    whole = trained + rows[1][1]
    rows += [["all of it", whole, ""], ["published implementation, 2 cores", PUBLISHED, ""]]
    show(f"published work: {PUBLISHED / whole:.2f} times faster; peak {peak_mib():.0f} MiB", ["", "s", "clips/s"], rows)


if len(sys.argv) > 1:
    print(medians({"": step(plain(), batch_on("cpu"))}, repeats=3)[""])
    sys.exit()
with workplace() as folder:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    for name in DEVICES:
        training_steps(name)
    published_work(recordings(Path(folder), train=240, test=120))
