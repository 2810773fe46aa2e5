"""Training step of complex_ssl against four plain convolutions; scoring; the published work."""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from _bench import DEVICES, medians, peak_mib, recordings, show, sounds, workplace
from torch import Tensor, nn

from mimii_pl import _config
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._complex import ComplexConv2d
from mimii_pl.model.complex_ssl import ComplexSSL

BATCH, PUBLISHED = 32, 63.0  # clips; seconds on two cores for the work of `published_work`


class FourConvolutions(nn.Module):
    """The textbook form: four real convolutions, two additions, parts kept apart."""

    def __init__(self, conv: ComplexConv2d) -> None:
        super().__init__()
        self.real, self.imag, self.how = conv.real, conv.imag, {"stride": conv.stride, "padding": conv.padding}

    def forward(self, x: Tensor) -> Tensor:
        real, imag = x.chunk(2, dim=1)
        a, b = F.conv2d(real, self.real, **self.how), F.conv2d(imag, self.imag, **self.how)
        c, d = F.conv2d(real, self.imag, **self.how), F.conv2d(imag, self.real, **self.how)
        return torch.cat([a - b, c + d], dim=1)


def plain(model: ComplexSSL) -> ComplexSSL:
    """The same network in that form, with torch's PReLU and layout."""
    for block in model.trunk:
        block[0] = FourConvolutions(block[0])
        block[2] = nn.PReLU(block[2].slope.numel())
    return model.to(memory_format=torch.contiguous_format)


def step(model: ComplexSSL, batch: Batch):
    """One training step, as a function to time."""
    optimizer = model.train().configure_optimizers()

    def work() -> None:
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()

    return work


def training_steps(device: str) -> None:
    spec, ids = torch.randn(BATCH, 2, 513, 64, device=device), torch.arange(BATCH, device=device) % 4
    batch = Batch(spec, ids, ids, ids, spec)
    four = plain(ComplexSSL((2, 513, 313), 4)).to(device)
    four.windows = lambda spec: spec[:, None]  # no copy into another layout
    work = {"four convolutions": step(four, batch), "complex_ssl": step(ComplexSSL((2, 513, 313), 4).to(device), batch)}
    times = medians(work, repeats=5, device=device)
    show(
        f"training step, {BATCH} windows of 64 frames, {device}",
        ["form", "s", "windows/s", "times faster"],
        [[name, value, BATCH / value, times["four convolutions"] / value] for name, value in times.items()],
    )


def published_work(root: Path) -> None:
    """One epoch over 216 clips of 10 s, 24 validation clips, one 64-frame window of each of 120 test clips."""
    started = time.perf_counter()
    cfg, module = sounds(root, "model=complex_ssl", "trainer=default", "training.epochs=1")
    model = _config.build(cfg.model, module.in_shape, 4)
    module.crop = model.crop
    trainer = _config.build(cfg.trainer)
    module.fit_features(trainer.strategy.root_device)
    trainer.fit(model, module)
    trained = time.perf_counter() - started
    rows = [["decode, train 216, validate 24 (whole clips)", trained, ""]]
    for hop, what in ((10_000, "score 120 test clips, 2 windows each"), (64, "score 120 test clips, every window")):
        model.hparams.window_hop = hop
        begun = time.perf_counter()
        trainer.predict(model, datamodule=module)
        took = time.perf_counter() - begun
        rows += [[what, took, 120 / took]]
    whole = trained + rows[1][1]
    rows += [["all of it", whole, ""], ["published implementation, 2 cores, 1 window per test clip", PUBLISHED, ""]]
    show(f"published work: {PUBLISHED / whole:.2f} times faster; peak {peak_mib():.0f} MiB", ["", "s", "clips/s"], rows)


with workplace() as folder:
    import logging
    import warnings

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    for name in DEVICES:
        training_steps(name)
    published_work(recordings(Path(folder), train=240, test=120))
