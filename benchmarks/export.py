"""Every detector with its natural back end as an exported model, beside the run that it comes from.

Each is trained for seconds on synthetic fans of 4 s and exported; what cannot be exported says why. Differences are in
standard deviations of held-out normal scores, times those of one clip on one thread.

    python benchmarks/export.py [dense_ae,committee]
"""

import json
import sys
from pathlib import Path

from _bench import show, workplace

from mimii_pl.core.config import CONF, compose
from mimii_pl.core.errors import InputError
from mimii_pl.deploy.export import export
from mimii_pl.run import run

OPTIONS = {"pretrained": ["model.weights=random"], "anogan": ["model.steps=1"]}  # anogan searches for minutes
DATA = ["dataset=synthetic", "dataset.train_clips=20", "dataset.test_clips=6", "dataset.clip_seconds=4"]
CLASSIFIERS = ("classifier", "mobilenet_v2", "audio_transformer", "resnet1d", "random_forest", "svm")


def detectors() -> list[str]:
    """Detectors that give anomaly scores."""
    names = sorted(file.stem for file in CONF.joinpath("model").glob("[!_]*.yaml"))
    return [name for name in names if not name.endswith(CLASSIFIERS)]


def exported(name: str, folder: Path) -> list:
    """A row of the table."""
    options = [f"model={name}", *OPTIONS.get(name, []), "machine=fan", "trainer=smoke", "logger=none", "report=none"]
    places = [f"dataset.root={folder}/data", f"dataset.cache_dir={folder}/cache", "efficiency.seconds=0"]
    cfg = compose([*options, *places, *DATA])
    run(cfg, folder / name)
    row = [name, str(cfg.choices.backend)]
    try:
        target = export(run=str(folder / name), output=str(folder / f"{name}-export"))
    except InputError as reason:
        return [*row, "", "", "", "", "", str(reason).partition(". ")[0][:60]]
    facts = json.loads((target / "model.json").read_text())
    costs = dict(_costs(target / "card.md"))
    size, onnx = costs["model.onnx"]
    parity = facts["parity"]
    return [*row, f"{parity['difference']:.1g}", parity["changed"], size, onnx, costs["torch"][1], facts["front_end"]]


def _costs(card: Path):
    """Yield name, and size and milliseconds per clip, of the rows of a card's table of costs."""
    for line in card.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in ("model.onnx", "torch") and len(cells) == 4:  # not in the table of files
            yield cells[0], cells[1:3]


def main(names: str = "") -> None:
    rows = []
    with workplace() as place:
        for name in names.split(",") if names else detectors():
            rows.append(exported(name, Path(place)))
    columns = ["detector", "back end", "difference", "changed", "file", "ms, onnx", "ms, torch", "front end"]
    show("exported models, clips of 4 s", columns, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
