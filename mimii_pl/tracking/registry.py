"""MLflow's model registry: register finished runs, move the alias of the version in use, fetch versions to score."""

import hashlib
import os
import re
import shlex
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mimii_pl.core.addresses import without_password
from mimii_pl.core.errors import InputError, first_line, one_line
from mimii_pl.core.files import require_writable
from mimii_pl.core.run_dir import find_run, read_facts, run_fingerprint
from mimii_pl.core.stored_config import read_config
from mimii_pl.tracking.mlflow_model import write_model
from mimii_pl.tracking.store import existing, without_bars

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

ALIAS = "champion"  # of the version in use
SCHEME = "models:/"
FOLDER = re.compile(r"\w[\w\- .]*")  # of a model that is fetched: no path
SOURCE = re.compile(r"(?!models:).+/registered/[0-9a-f]{16}")  # address of a version's files
URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+|latest))")


class Registered(NamedTuple):
    """A registered run: version `number` of model `name`, whether the alias moved to it, and the reason."""

    name: str
    number: str
    moved: bool
    reason: str


def default_uri() -> str:
    """Return the store of commands that have none configured: MLFLOW_TRACKING_URI, or the local default."""
    return without_password(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlruns/mlflow.db")


def add_version(
    run_dir: Path, name: str, tags: Mapping[str, str], trust: Collection[str] = ()
) -> "tuple[MlflowClient, ModelVersion]":
    """Register a finished run as a version of a model. Its files are copied, so later changes do not affect it.

    The version is a run directory and a model of MLflow (see `write_model`). Registering an unchanged run again returns
    its existing version, unless that is of before versions were models of MLflow.

    Args:
        tags: of the version.
        trust: packages, besides this one, whose classes the run may name.

    Raises:
        InputError: the run is not recorded in MLflow, or the store cannot be reached.
    """
    facts, logger = read_facts(run_dir), read_config(run_dir).trainer.get("logger")
    if not logger or "mlflow_run_id" not in facts:
        raise InputError(
            f"run={run_dir} is not recorded in MLflow, so it cannot be registered: train with logger=mlflow"
        )
    client, run_id = existing(logger.tracking_uri), facts["mlflow_run_id"]
    artifacts = _artifacts(client, run_id, run_dir, logger.tracking_uri)
    content = run_fingerprint(run_dir)[:16]
    place = f"registered/{content}"
    _make_model(client, name)
    of_run = [version for version in client.search_model_versions(f"name = '{name}'") if version.run_id == run_id]
    for version in of_run:
        if version.tags.get("content") == content and _is_model(client, run_id, place):
            return client, version
    with tempfile.TemporaryDirectory() as folder, without_bars():
        write_model(Path(folder), run_dir, trust)
        client.log_artifacts(run_id, folder, place)
    return client, client.create_model_version(name, f"{artifacts}/{place}", run_id, tags={**tags, "content": content})


def _is_model(client: "MlflowClient", run_id: str, place: str) -> bool:
    return f"{place}/MLmodel" in {item.path for item in client.list_artifacts(run_id, place)}


def _artifacts(client: "MlflowClient", run_id: str, run_dir: Path, tracking_uri: str) -> str:
    """Return the address of the files of an MLflow run."""
    from mlflow.exceptions import MlflowException

    try:
        info = client.get_run(run_id).info
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise InputError(f"run={run_dir}: {tracking_uri}: {first_line(error)}") from None
        info = None
    if info is None or info.lifecycle_stage != "active":
        state = "is not (or no longer)" if info is None else "was deleted"
        raise InputError(
            f"run={run_dir}: its MLflow run {run_id} {state} in {tracking_uri}: "
            f"`mimii record {shlex.quote(f'run={run_dir}')}` records it anew"
        )
    return info.artifact_uri.rstrip("/")


def _make_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise InputError(f"name={name}: {error}") from None


def promote(client: "MlflowClient", version: "ModelVersion", alias: str, force: bool) -> Registered:
    """Move the alias to a version if the model has none yet, if this version is better, or if `force` is set.

    Better means a higher criterion on the same held-out clips. If the clips differ, the alias stays.
    """
    from mlflow.exceptions import MlflowException

    name, number = version.name, str(version.version)
    holder = client.get_registered_model(name).aliases.get(alias)
    if str(holder) == number:
        return Registered(name, number, False, f"it is {alias} already")
    moves, reason = (True, f"the first {alias}") if holder is None else _beats(version, client, str(holder))
    if not (moves or force):
        return Registered(
            name, number, False, f"{alias} stays on version {holder}: {reason}; use force=true to move it"
        )
    try:
        client.set_registered_model_alias(name, alias, number)
    except MlflowException as error:
        raise InputError(f"alias={alias}: {error}") from None
    return Registered(name, number, True, f"{reason}{'' if moves else ', but force=true'}")


def _beats(version: "ModelVersion", client: "MlflowClient", holder: str) -> tuple[bool, str]:
    new, old = version.tags, client.get_model_version(version.name, holder).tags
    if not new["held_out"] or any(new[key] != old.get(key) for key in ("criterion", "held_out")):
        return False, f"not comparable with version {holder}: its held-out clips or its criterion are others"
    challenger, champion = float(new["value"]), float(old["value"])
    word = "above" if challenger > champion else "not above"
    figures = f"{challenger:.4f} is {word} the {champion:.4f} of version {holder}"
    return challenger > champion, f"its {new['criterion']} of {figures}, on the same held-out clips"


def local_run(run: str | Path, tracking_uri: str | None = None) -> Path:
    """Return a run directory on this computer: a local one (see `core.run_dir.find_run`), or a fetched model."""
    return fetch_model(str(run), tracking_uri or default_uri()) if str(run).startswith(SCHEME) else find_run(run)


class Origin(NamedTuple):
    """A registered version: model, number, and the run directory it was made of with the digest of its content."""

    name: str
    number: str
    run_dir: Path
    content: str


def origin_of(uri: str, tracking_uri: str | None = None) -> Origin:
    """Find the run directory that a version, such as `models:/fan@champion`, was made of.

    Raises:
        InputError: there is no such version, or that directory is not on this computer or has changed.
    """
    store = tracking_uri or default_uri()
    version = _version(existing(store), uri, store)
    origin = Origin(
        version.name, str(version.version), Path(version.tags.get("run_dir", "")), version.tags.get("content", "")
    )
    if not (origin.run_dir / "run.json").is_file():
        raise InputError(
            f"run={uri}: an update needs the clips that it learned from, and its run directory {origin.run_dir} is not "
            "on this computer. Copy it here, and give run=<that directory>"
        )
    if run_fingerprint(origin.run_dir)[:16] != origin.content:
        raise InputError(
            f"run={uri}: its run directory {origin.run_dir} has changed since it was registered (other thresholds?): "
            f"register it again, or give run={shlex.quote(str(origin.run_dir))}"
        )
    return origin


def fetch_model(uri: str, tracking_uri: str) -> Path:
    """Download the files of a version, once, since a version never changes; return their directory.

    Args:
        uri: `models:/fan@champion`, `models:/fan/3` or `models:/fan/latest`.
        tracking_uri: store of the registry.

    Raises:
        InputError: there is no such model, alias or version, or it is not of this project.
    """
    import pooch

    client = existing(tracking_uri)
    version = _version(client, uri, tracking_uri)
    source = client.get_model_version_download_uri(version.name, version.version)
    if not SOURCE.fullmatch(source):
        raise InputError(f"run={uri} is not a model of this project: its files are said to be at {source}")
    key = hashlib.sha256(source.encode()).hexdigest()[:12]  # run and content are part of the source
    name = f"{version.name}-{version.version}-{key}"
    if not FOLDER.fullmatch(name):  # the server's words
        raise InputError(f"run={uri}: {name!r} cannot be the name of a folder: not fetched")
    place = Path(pooch.os_cache("mimii_pl"), "models", name)
    if not (place / "run.json").is_file():
        require_writable(place.parent, "the environment variable XDG_CACHE_HOME=<another folder>")
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            try:
                _download(source, folder, client.tracking_uri, uri).rename(place)
            except OSError:  # another process was first
                if not (place / "run.json").is_file():
                    raise
    return place


def _download(source: str, folder: str, tracking_uri: str, uri: str) -> Path:
    """Download into a folder and return the directory of the files in it."""
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        with without_bars():
            files = Path(mlflow.artifacts.download_artifacts(source, dst_path=folder, tracking_uri=tracking_uri))
    except (MlflowException, OSError, ValueError) as error:
        raise InputError(f"run={uri}: its files cannot be downloaded from {source}: {one_line(error)}") from None
    if not all((files / name).is_file() for name in ("config.yaml", "run.json")):
        raise InputError(f"run={uri} is not a model of this project: it has no config.yaml and run.json")
    return files


def _version(client: "MlflowClient", uri: str, tracking_uri: str) -> "ModelVersion":
    parts = URI.fullmatch(uri)
    if parts is None:
        raise InputError(f"run={uri}: a registered model is models:/<name>@<alias> or models:/<name>/<version>")
    model = _model(client, parts["name"], uri, tracking_uri)
    versions = {str(v.version): v for v in client.search_model_versions(f"name = '{model.name}'")}
    number = model.aliases.get(parts["alias"]) if parts["alias"] else parts["version"]
    number = max(versions, key=int, default=None) if number == "latest" else str(number)
    if number not in versions:
        aliases = ", ".join(f"@{alias} ({version})" for alias, version in sorted(model.aliases.items())) or "none"
        numbers = ", ".join(sorted(versions, key=int)) or "none"
        raise InputError(
            f"run={uri}: no such alias or version. Aliases of {model.name}: {aliases}; versions: {numbers}"
        )
    return versions[number]


def _model(client: "MlflowClient", name: str, uri: str, tracking_uri: str) -> "RegisteredModel":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException:
        names = ", ".join(sorted(model.name for model in client.search_registered_models())) or "none"
        raise InputError(
            f"run={uri}: no model of that name is registered in {tracking_uri}. Registered models: {names}"
        ) from None
