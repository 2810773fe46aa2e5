"""Names of the rows of a table: a detector by what it changed of its own defaults, a data set by its folder."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mimii_pl.core.default_options import changed_options, default_protocol
from mimii_pl.core.grouping import group_by
from mimii_pl.core.options import shortened

OPTION_WORDS = {"backend.per_id=false": "pooled", "model.per_id=false": "pooled"}  # the field's word for a value
OPTION_PARTS = ("backend", "model", "features", "augmentation", "training", "trainer", "dataset")  # in this order
Options = Mapping[str, str]


class RowNames(NamedTuple):
    """Names of the rows of a table, equal where all options are, and only there.

    Attributes:
        names: one per row, `spectrum + knn (density=ratio, pooled)`.
        shared: options, other than those of model and back end, that every row has changed alike; they are in no name.
    """

    names: list[str]
    shared: str


def detector_names(
    configs: Sequence[Options], clips: Sequence[Options] = (), others: Sequence[Options] = ()
) -> RowNames:
    """Name detectors by model, back end, and the options that differ from the model's own defaults.

    Args:
        configs: options of each row's detector by dotted key, as text, with the choices `model` and `backend`.
        clips: options of each row's data, whose choices bring defaults too; none: those of the usual data set.
        others: further options of each row (its seed), named only where they tell rows apart.
    """
    none: list[Options] = [{} for _ in configs]
    shown = []
    for config, of_clips in zip(configs, clips or none, strict=True):
        own = {"augmentation", *config} - {"backend"}  # the head has the back end
        changed = changed_options({**of_clips, **config}) or {}
        shown.append({key: value for key, value in changed.items() if key in own})
    shared = _shared(shown) if len(set(map(_identity, configs))) > 1 else {}
    shown = [{key: value for key, value in options.items() if key not in shared} for options in shown]
    heads = [_head(config) for config in configs]
    full = [{**config, **other} for config, other in zip(configs, others or none, strict=True)]
    return RowNames(_unique(heads, shown, full), ", ".join(_labels(shared, shared)))


def data_names(configs: Sequence[Options]) -> list[str]:
    """Name data sets by the last part of their folder, and by the protocol unless it is the data set's own.

    Folders of one name are told apart by those above them, then by the options in which they differ.

    Args:
        configs: options of each row by dotted key, with the choices `dataset` and `protocol`.
    """
    folders = [_parts(config) for config in configs]
    heads = []
    for config, folder in zip(configs, folders, strict=True):
        depth, others = 1, set(folders) - {folder}
        while depth < len(folder) and _tail(folder, depth) in {_tail(other, depth) for other in others}:
            depth += 1
        protocol = config.get("protocol", "")
        own = protocol in ("", default_protocol(config.get("dataset", "")))
        heads.append(_tail(folder, depth) + ("" if own else f" + {protocol}"))
    return _unique(heads, [{} for _ in configs], configs)


def _head(config: Options) -> str:
    """Return the names of model and back end, or those of the members of a fused run."""
    members = [key.split(".")[2] for key in config if re.fullmatch(r"fused\.members\.\w+\.content", key)]
    if members:
        return f"{config['model']}: {', '.join(members)}"
    names = (config[group] for group in ("model", "backend") if config.get(group, "none") != "none")
    return " + ".join(dict.fromkeys(names))


def _shared(shown: Sequence[Options]) -> dict[str, str]:
    """Return the options that all rows show with the same value, but for those of model and back end."""
    first, *rest = shown
    alike = {key: value for key, value in first.items() if all(other.get(key) == value for other in rest)}
    return {key: value for key, value in alike.items() if key.split(".")[0] not in ("model", "backend")}


def _unique(heads: Sequence[str], shown: Iterable[Options], full: Sequence[Options]) -> list[str]:
    """Render each row; to rows of one name and other options, add those in which they differ."""
    added = [dict(options) for options in shown]
    for whole in (False, False, True):  # the second time, an option that was added may have made two others alike
        names = _rendered(heads, added, whole)
        for rows in group_by(range(len(names)), names.__getitem__).values():
            for key in dict.fromkeys(key for row in rows for key in full[row]):
                if len({full[row].get(key) for row in rows}) > 1:
                    for row in rows:
                        added[row] |= {key: full[row][key]} if key in full[row] else {}
    return _rendered(heads, added, whole=len(set(_rendered(heads, added))) < len(set(map(_identity, full))))


def _rendered(heads: Sequence[str], shown: Sequence[Options], whole: bool = False) -> list[str]:
    keys = dict.fromkeys(key for options in shown for key in options)
    texts = [", ".join(_labels(options, keys, whole)) for options in shown]
    return [f"{head} ({text})" if text else head for head, text in zip(heads, texts, strict=True)]


def _labels(options: Options, keys: Iterable[str], whole: bool = False) -> list[str]:
    """Write options as short as they can be told apart among the keys of their table: `lr=0.001`, `pooled`.

    Args:
        whole: long numbers are not shortened.
    """
    keys = [f".{key}" for key in keys]
    labels, words = [], []
    for key in sorted(options, key=_place):
        value = re.sub(r"['\" ]", "", options[key]) if options[key].startswith("[") else options[key]
        value = {"True": "true", "False": "false", "None": "null"}.get(value, value if whole else shortened(value))
        if word := OPTION_WORDS.get(f"{key}={value}"):
            words.append(word)
            continue
        parts = key.split(".")
        length = 2 if len(parts) > 2 and parts[0] == "augmentation" else 1  # `noise.p`: all of them have a `p`
        while sum(other.endswith(f".{'.'.join(parts[-length:])}") for other in keys) > 1 and length < len(parts):
            length += 1
        labels.append(f"{'.'.join(parts[-length:])}={value}")
    return [*labels, *words]


def _place(key: str) -> int:
    group = key.split(".")[0]
    return OPTION_PARTS.index(group) if group in OPTION_PARTS else len(OPTION_PARTS)


def _identity(options: Options) -> tuple:
    return tuple(sorted(options.items()))


def _parts(config: Options) -> tuple[str, ...]:
    """Return the parts of a data set's folder, the last first; a table stands for the folder that contains it."""
    parts = [part for part in os.path.normpath(config.get("dataset.root", "")).replace("\\", "/").split("/") if part]
    if parts and parts[-1].lower().endswith((".csv", ".tsv", ".txt")):
        parts.pop()
    if not parts or parts[-1] in (".", ".."):
        return (config.get("dataset", ""),)
    return tuple(reversed(parts))


def _tail(folder: Sequence[str], count: int) -> str:
    return "/".join(reversed(folder[:count]))
