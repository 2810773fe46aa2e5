"""The files of an export besides the model: `model.json`, `score.py` and `card.md`."""

import json
import shutil
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mimii_pl.core.files import stored_rows, write_text
from mimii_pl.core.run_dir import read_facts, run_fingerprint
from mimii_pl.core.stored_config import read_config
from mimii_pl.dataset._learned_from import CLIPS_FILE, COLUMNS
from mimii_pl.deploy.int8 import Int8Report
from mimii_pl.deploy.latency import Latency
from mimii_pl.deploy.parity import Parity
from mimii_pl.model._weights import sha256_of
from mimii_pl.scoring.cost import device_name
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.scoring.usual_sound import stored_sound
from mimii_pl.threshold import Thresholds
from mimii_pl.threshold._threshold import POOLED

MODEL, MODEL_INT8, PROGRAM = "model.onnx", "model.int8.onnx", "score.py"
EXPORT_FORMAT = 1  # of model.json
_HERE = Path(__file__).parent


def write_program(folder: Path) -> None:
    """Write the program that scores recordings with the model."""
    shutil.copyfile(_HERE / PROGRAM, folder / PROGRAM)


def write_facts_of_model(
    folder: Path,
    run_dir: Path,
    scorer: Scorer,
    thresholds: Thresholds,
    parity: Parity,
    front_end: str,
    int8: Int8Report | None,
) -> dict[str, Any]:
    """Write `model.json`, all that scoring needs besides the model, and return its content."""
    from mimii_pl.deploy.score import facts_digest  # imports onnxruntime

    packages = ("mimii_pl", "torch", "onnx", "onnxscript", "onnxruntime")
    facts = {
        "format": EXPORT_FORMAT,
        "run": run_fingerprint(run_dir),
        "sample_rate": scorer.sample_rate,
        "samples": scorer.samples,
        "channel": scorer.channel,
        "fusion": scorer.fusion,
        "full_scale": scorer.full_scale,
        "labels": scorer.labels,
        "needs_id": scorer.needs_id or bool(scorer.backend and scorer.backend.per_id),
        "id_in": "name" if scorer.machine_ids.named and scorer.machine_ids.root is None else "folder",
        "thresholds": thresholds.thresholds,
        "threshold_origin": thresholds.origin,
        "sound": stored_sound(run_dir),
        "held_out": {name: scores.tolist() for name, scores in thresholds.normal.items()},
        "front_end": front_end,
        "parity": parity._asdict(),
        "int8": int8 and int8._asdict(),
        "versions": {name: version(name) for name in packages},
        "files": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }
    facts["digest"] = facts_digest(facts)
    write_text(folder / "model.json", json.dumps(facts, indent=1, ensure_ascii=False))
    return facts


def write_card(
    folder: Path,
    run_dir: Path,
    facts: Mapping[str, Any],
    thresholds: Thresholds,
    parity: Parity,
    int8: Int8Report | None,
    costs: Mapping[str, Latency],
    licence: str | None,
) -> None:
    """Write `card.md`: what the model learned from, how well it hears, its limits, costs and files.

    Args:
        costs: name of a file -> cost; `torch`: that of the run.
    """
    cfg, of_run = read_config(run_dir), read_facts(run_dir)
    model, backend = (str(cfg.choices.get(group, "")) for group in ("model", "backend"))
    splits = [row["split"] for row in stored_rows(run_dir / CLIPS_FILE, COLUMNS)]
    seconds = facts["samples"] / facts["sample_rate"]
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    rows = [
        {"name": name, "size": _megabytes(sizes.get(name, of_run.get("size_bytes", 0))), "ms": one[0], "mib": one[1]}
        for name, one in costs.items()
    ]
    environment = Environment(
        undefined=StrictUndefined, loader=FileSystemLoader(_HERE), trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("card.md.j2").render(
        facts,
        title=f"{model} on {cfg.machine.name}",
        detector=f"`{model}`" + (f" with the back end `{backend}`" if cfg.get("backend") else ""),
        date=date.today().isoformat(),
        fingerprint=facts["run"],
        seconds=seconds,
        hours=len(splits) * seconds / 3600,
        clips=len(splits),
        held_out_clips=splits.count("validation"),
        dataset=cfg.choices.get("dataset", ""),
        licence=licence,
        notices=of_run.get("notices"),
        sensitivity=of_run.get("sensitivity", 0.0),
        found=of_run.get("found"),
        false_alarms=of_run.get("false_alarms"),
        origin=facts["threshold_origin"],
        thresholds=_threshold_rows(thresholds),
        parity=parity,
        int8=int8,
        device=device_name_of_cpu(),
        costs=rows,
        files={name: (sizes[name], sha256_of(folder / name)) for name in sizes},
    )
    write_text(folder / "card.md", text)


def _threshold_rows(thresholds: Thresholds) -> list[dict[str, Any]]:
    labels = thresholds.labels
    alarms = {name: thresholds.false_alarms(name) for name in ([*labels, POOLED] if len(labels) > 1 else labels)}
    return [{"name": name, "threshold": thresholds.of(name), "alarms": own} for name, own in alarms.items()]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def device_name_of_cpu() -> str:
    """Return the name of the CPU."""
    import torch

    return device_name(torch.device("cpu")).rpartition(",")[0]
