"""Settings of the process that a run works in: messages, threads, memory, random numbers."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from omegaconf import DictConfig
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]  # ships no types

from mimii_pl.core.errors import InputError
from mimii_pl.core.lean_optimizers import leave_compiler_out
from mimii_pl.core.memory import keep_freed_memory, reset_peak

SMALL_STEP = 1e9  # multiply-accumulates of a training step, below which a second thread costs more than it computes
AUTO: Literal["auto"] = "auto"
IGNORED_WARNINGS = (
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 on torch 2.11
    r".*does not have many workers",  # batches are gathered from a memory map: workers would cost more
    r".*Checkpoint directory .* exists",  # a resumed run writes where the interrupted one did
    r".*number of training batches",  # small training sets are fine
)


def prepare_process(cfg: DictConfig) -> None:
    """Apply the settings of a run: quiet Lightning, lean optimizers, thread limit, memory, random seed."""
    quiet_lightning()
    leave_compiler_out()
    limit_threads(cfg.get("threads"))
    keep_freed_memory()
    if cfg.efficiency.seconds > 0:
        reset_peak()
    pl.seed_everything(cfg.seed, verbose=False)


def resolve_precision(cfg: DictConfig) -> None:
    """Replace `trainer.precision=auto` by mixed precision in bfloat16 where device and detector gain from it.

    A detector says so by `trains_in_bfloat16`. On a CPU, that takes instructions of its own: elsewhere it is slower.
    """
    trainer = cfg.get("trainer")
    if trainer is None or trainer.get("precision") != AUTO:
        return
    if torch.cuda.is_available() and trainer.accelerator != "cpu":
        able = torch.cuda.is_bf16_supported()
    else:
        able = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    gains = getattr(get_class(cfg.model._target_), "trains_in_bfloat16", False)
    trainer.precision = "bf16-mixed" if able and gains else "32-true"


def limit_threads(threads: int | Literal["auto"] | None) -> None:
    """Limit the threads of torch and of numpy's libraries; None keeps them as they are, and so does `auto` until later.

    Raises:
        InputError: fewer than one.
    """
    if threads is None or threads == AUTO:
        return
    if threads < 1:
        raise InputError(f"threads={threads} must be 1 or more, auto, or null for the default of the process")
    torch.set_num_threads(threads)
    threadpool_limits({"openmp": threads})
    if any(pool["num_threads"] > threads for pool in threadpool_info() if pool["user_api"] == "blas"):
        threadpool_limits({"blas": threads})


@contextmanager
def threads_restored() -> Iterator[None]:
    """Restore the numbers of threads at the end, for the next run of this process."""
    before = torch.get_num_threads()
    try:
        with threadpool_limits(None):
            yield
    finally:
        torch.set_num_threads(before)


def quiet_lightning() -> None:
    """Silence Lightning's banners and the warnings that do not apply here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
