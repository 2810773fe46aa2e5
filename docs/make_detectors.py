"""Write docs/detectors.md from conf/model/*.yaml, the classes' docstrings, docs/zoo.csv and the published figures.

    python docs/make_detectors.py

`zoo.csv` holds what `make zoo` measured; a test fails where the page is older than what it is made from.
"""

import csv
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_class

from mimii_pl.core.choices import spell
from mimii_pl.core.config import CONF
from mimii_pl.core.help import choices_of, comments_of, first_comment
from mimii_pl.model import GAN, Classifier, HeadClassifier, TrainingFree, WindowAE
from mimii_pl.report.published import PublishedFigure, published

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "detectors.md"
FAMILIES = {  # heading -> detectors, as the README's table groups them; others join the family of their base class
    "Classifiers of machine IDs": ["complex_ssl", "dis_spec", "stgram", "tfgram", "outlier_exposure"],
    "Density": ["flow"],
    "Auto-encoders over windows of frames": [
        "dense_ae",
        "mimii_ae",
        "simple_ae",
        "deep_ae",
        "vae",
        "conv_ae",
        "lstm_ae",
        "attention_ae",
        "residual_ae",
        "denoising_ae",
        "ss_ae",
        "idnn",
    ],
    "Auto-encoders of images and waveforms": ["conv_ae_image", "conv_vae_image", "skip_ae", "wave_ae"],
    "Adversarial networks": ["anogan", "f_anogan"],
    "Without training": ["spectrum", "pretrained", "isolation_forest", "one_class_svm", "level"],
    "Classifiers": [
        "simple_classifier",
        "deep_classifier",
        "vae_classifier",
        "conv_classifier",
        "lstm_classifier",
        "attention_classifier",
        "residual_classifier",
        "denoising_classifier",
        "ss_classifier",
        "random_forest",
        "svm",
        "mobilenet_v2",
        "audio_transformer",
        "resnet1d",
    ],
}
BASES = {  # base class -> its family; the first that fits
    HeadClassifier: "Classifiers of machine IDs",
    Classifier: "Classifiers",
    WindowAE: "Auto-encoders over windows of frames",
    GAN: "Adversarial networks",
    TrainingFree: "Without training",
}
PAPERS = {  # detector -> keys of published figures made with it
    "complex_ssl": ["kim2021", "mimimi"],
    "dense_ae": ["dcase2020_baseline"],
    "mimii_ae": ["mimii_baseline_6dB", "mimii_baseline_0dB", "mimii_baseline_minus6dB"],
    "conv_ae_image": ["latent_lof"],
    "skip_ae": ["eurecom_cae", "eurecom_cae_skip", "eurecom_cae_raw"],
    "anogan": ["eurecom_anogan"],
}
INTRO = """# Detectors

<!-- Written by docs/make_detectors.py: change that file, conf/model/ or the docstrings, not this page. -->

`model=<name>` chooses a detector. It brings the features, the back end and the training length that suit it, and every
value below is an option: `model.lr=3e-4 training.epochs=50`. [Back ends](backends.md) replace a detector's own score,
[Results](results.md#on-real-sound) has figures on real sound, [Classify](classify.md#measured) those of the
classifiers.

## The zoo

`make zoo` runs every detector with its natural back end on the four synthetic machines (36 training clips per ID, 4 s)
and gives each the same 25 seconds of training. AUC / pAUC, mean over four IDs, seed 0, two shared cores, part of them
busy with other work (`flow`, `dis_spec`, `stgram` and `outlier_exposure`: one core; `tfgram` and `pretrained`, with the
weights of `aisfx`: two quiet cores); `anogan` is omitted for its scoring time (`benchmarks/anogan.py`):
"""
ZOO_NOTE = """\
What 25 seconds buy is not what a detector can do: they are 3 epochs for `complex_ssl` (.814 on the fan in `make demo`)
and for `wave_ae`, 4 or 5 for `tfgram`, and a tenth of what the adversarial ones need. Below chance are `level` on fan
and pump, whose faults keep the level; `wave_ae` on the slider, where 3 epochs learn little more than how loud the
strokes are; `skip_ae` on the valve, whose rare clicks a smooth image of a second explains no better when healthy, and
`tfgram` there. `idnn` leads on valves, as its authors found. `ss_ae` needs 19,824 parameters where `simple_ae` needs
42,440, and scores higher here (.787 against .722).

`make zoo` takes an hour, `make smoke` runs every detector for seconds, and `make paper` turns the zoo's runs into
tables for a paper.
"""
ZOO_HEADS = "detector fan pump slider valve mean_AUC parameters s/epoch clips/s"
PUBLISHED_NOTE = "Published AUC / pAUC, on the data and by the protocol of the source:"
NAMES = {"auc": "AUC", "f1": "F1"}


def page() -> str:
    """Compose the whole page as markdown."""
    parts = [INTRO, _zoo(), ZOO_NOTE]
    for family, detectors in families().items():
        parts += [f"## {family}\n", *map(_section, detectors)]
    return "\n".join(parts)


def families() -> dict[str, list[str]]:
    """Group every detector of conf/model: as listed above, else by its base class."""
    groups = {family: list(names) for family, names in FAMILIES.items()}
    listed = {name for names in FAMILIES.values() for name in names}
    for name in choices_of("model"):
        if name not in listed:
            cls = get_class(configuration(name)[0]["model"]["_target_"])
            family = next((family for base, family in BASES.items() if issubclass(cls, base)), "Others")
            groups.setdefault(family, []).append(name)
    return groups


def _zoo() -> str:
    heads = [head.replace("_", " ") for head in ZOO_HEADS.split()]
    with (DOCS / "zoo.csv").open(newline="") as file:
        rows = [
            [_detector_cell(row.pop("detector"), row.pop("backend")), *row.values()] for row in csv.DictReader(file)
        ]
    return _table(heads, rows)


def _detector_cell(detector: str, backend: str) -> str:
    return f"`{detector}`" + (f" + `{backend}`" if backend else "")


def _section(name: str) -> str:
    """Compose one detector: its purpose, what it brings, its class, its options, its published figures."""
    path = CONF / "model" / f"{name}.yaml"
    values, choices = configuration(name)
    cls = get_class(values["model"].pop("_target_"))
    comments = comments_of(path, "model")
    options = [
        (f"`model.{key}`", f"`{spell(value)}`", comments.get(f"model.{key}", ""))
        for key, value in values["model"].items()
    ]
    lines = [
        f"### {name}\n",
        f"{first_comment(path)}\n",
        f"{_brings(values, choices)}\n",
        f"{_description(cls)}\n",
        _table(("option", "default", "meaning"), options),
    ]
    if name in PAPERS:
        lines += [PUBLISHED_NOTE + "\n", _published(published(PAPERS[name]))]
    return "\n".join(lines)


def configuration(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Merge a detector's yaml with those it builds on: its values, and its choices in other groups.

    Hydra would do the same forty times slower.
    """
    node = yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())
    values: dict[str, Any] = {}
    choices: dict[str, Any] = {}
    for item in node.pop("defaults", []):
        if isinstance(item, dict):
            choices |= {group.removeprefix("override /"): choice for group, choice in item.items()}
        elif item != "_self_":
            base_values, base_choices = configuration(item)
            values, choices = _merge(values, base_values), choices | base_choices
    return _merge(values, node), choices


def _merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merge(one[key], other[key])
        for key in one.keys() & other.keys()
        if isinstance(one[key], dict) and isinstance(other[key], dict)
    }
    return one | other | both


def _brings(values: dict[str, Any], choices: dict[str, Any]) -> str:
    """Name the features, augmentation, back end and epochs that a detector chooses, or the defaults."""
    train = yaml.safe_load((CONF / "train.yaml").read_text())
    defaults = {group: choice for item in train["defaults"] if isinstance(item, dict) for group, choice in item.items()}
    chosen = defaults | choices
    normalize = values.get("features", {}).get("normalize", "none")
    augmentation = chosen["augmentation"]
    names = ", ".join(f"`{part}`" for part in augmentation) if isinstance(augmentation, list) else f"`{augmentation}`"
    return (
        f"Features `{chosen['features']}` (normalised: `{normalize}`), augmentation {names}, back end "
        f"`{chosen['backend']}`, epochs at most {(train['training'] | values.get('training', {}))['epochs']}."
    )


def _description(cls: type) -> str:
    """The class's docstring without its arguments, which the table of options has."""
    text = inspect.getdoc(cls).split("\nArgs:")[0].strip()
    return text.replace("<", "&lt;")


def _published(figures: Iterable[PublishedFigure]) -> str:
    """One table: a row per source and machine type, with AUC and pAUC over its IDs and of each ID."""
    sources: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    notes: dict[str, str] = {}
    for figure in figures:
        notes[figure.paper] = f"{figure.paper}: {figure.dataset}, {figure.note}."
        values = sources.setdefault((figure.paper, figure.machine), {})
        values.setdefault(figure.id, {})[figure.metric] = figure.value
    rows = [
        (paper, machine, "; ".join(f"{name} {_values(metrics)}" for name, metrics in values.items()))
        for (paper, machine), values in sources.items()
    ]
    return _table(("source", "machine", "figures"), rows) + "\n" + "\n".join(notes.values()) + "\n"


def _values(metrics: dict[str, float]) -> str:
    """`.9045 / .7663` for AUC and pAUC; other metrics with their names."""
    if metrics.keys() <= {"auc", "pauc"}:
        return " / ".join(_fraction(value) for value in metrics.values())
    return ", ".join(f"{NAMES.get(name, name)} {_fraction(value)}" for name, value in metrics.items())


def _fraction(value: float) -> str:
    return f"{value:g}".removeprefix("0")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
