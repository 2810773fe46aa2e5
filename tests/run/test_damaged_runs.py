"""Run directories with a damaged or hostile file: one line that names the file, and nothing is executed."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support import old_run, world

import mimii_pl
from mimii_pl.backend.isolation_forest import IsolationForest
from mimii_pl.core.errors import InputError
from mimii_pl.core.files import read_arrays, write_arrays
from mimii_pl.core.run_dir import check_digests, read_facts, write_digests, write_facts
from mimii_pl.core.skops_io import dump_estimator, load_estimator
from mimii_pl.rerun import resumed
from mimii_pl.run import run
from mimii_pl.sweep.register import register


class Executes:
    """An object whose pickle makes a folder when it is read."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A finished run of an earlier version: a network with a back end."""
    monkeypatch.chdir(tmp_path)
    return old_run.restore("anomaly", tmp_path)


def refused(run_dir, match):
    with pytest.raises(InputError, match=match) as info:
        mimii_pl.load(run_dir, device="cpu")
    assert "\n" not in str(info.value)
    assert not (run_dir.parent / "executed").exists()


@pytest.mark.parametrize(
    "facts",
    [
        {"samples": -5},
        {"samples": 0},
        {"samples": 1e30},
        {"samples": 2**39},
        {"samples": "many"},
        {"samples": True},
        {"labels": []},
        {"labels": "fan/id_00"},
        {"labels": ["id_00"]},
        {"labels": [0]},
        {"status": "done"},
        {"status": ["finished"]},
        {"checkpoint": 3},
        {"objective": "high"},
        {"false_alarms": [1]},
        {"device": "a\x1b[2J"},
        {"threshold": 0.9},
        {"rescored_from": "1" * 300},
    ],
)
def test_a_fact_of_the_wrong_kind_is_named(facts, run_dir):
    path = run_dir / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    refused(run_dir, rf"run\.json is damaged: {next(iter(facts))} is")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\0\1", '{"labels": ' + "[" * 100_000, "1e"])
def test_a_run_json_that_is_none_is_named(text, run_dir):
    (run_dir / "run.json").write_text(text)
    refused(run_dir, r"run\.json is damaged")


@pytest.mark.parametrize("name", ["../best.ckpt", "/etc/passwd", "checkpoints/../../best.ckpt", "linked.ckpt", "."])
def test_a_checkpoint_outside_the_run_is_refused(name, run_dir):
    (run_dir.parent / "best.ckpt").write_bytes((run_dir / "checkpoints" / "best.ckpt").read_bytes())
    (run_dir / "linked.ckpt").symlink_to(run_dir.parent / "best.ckpt")
    path = run_dir / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"checkpoint": name}))
    refused(run_dir, "outside its directory: not loaded")


@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "backend.npz", "thresholds.json", "run.json", "config.yaml"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_file_that_is_cut_is_named(name, share, run_dir):
    path = run_dir / name
    content = path.read_bytes()
    if name == "config.yaml" and share:
        content += b"\nmodel: ["  # a shorter text may be a configuration of its own
    path.write_bytes(content[: int(share * len(content))] if name != "config.yaml" else content * bool(share))
    refused(run_dir, rf"{path.name} is damaged")


def test_a_file_that_is_missing_is_named(run_dir):
    (run_dir / "checkpoints" / "best.ckpt").unlink()
    refused(run_dir, r"best\.ckpt is missing")


def test_pickles_are_not_read(run_dir):
    best = run_dir / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    torch.save({**content, "extra": Executes()}, best)
    refused(run_dir, r"best\.ckpt is damaged")
    torch.save(content, best)
    np.savez(run_dir / "backend.npz", **{"-1.x": np.array([Executes()], object)})
    refused(run_dir, r"backend\.npz is damaged")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("hyper_parameters"),
        lambda content: content.pop("state_dict"),
        lambda content: content["state_dict"].popitem(),
        lambda content: content["state_dict"].update(more=torch.zeros(1)),
        lambda content: content["state_dict"].update({next(iter(content["state_dict"])): torch.zeros(3, 3)}),
        lambda content: content["hyper_parameters"].update(hidden=-1),
        lambda content: content["hyper_parameters"].update(in_shape=[1, 2]),
        lambda content: content["hyper_parameters"].pop("in_shape"),
    ],
    ids=range(8),
)
def test_a_checkpoint_that_does_not_fit_is_named(change, run_dir):
    best = run_dir / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    change(content)
    torch.save(content, best)
    refused(run_dir, r"best\.ckpt is damaged|is damaged: its features are")


def name_detector(run_dir, name):
    cfg = OmegaConf.load(run_dir / "config.yaml")
    cfg.model._target_ = f"support.own.{name}"
    OmegaConf.save(cfg, run_dir / "config.yaml")


@pytest.mark.parametrize("name", ["FailsWhenBuilt", "FailsOnWeights"])
def test_an_error_in_a_detector_of_ones_own_is_no_damage(name, run_dir):
    name_detector(run_dir, name)
    with pytest.raises(TypeError, match="unsupported operand") as info:
        mimii_pl.load(run_dir, device="cpu", trust=["support"])
    assert info.traceback[-1].path.name == "own.py"


def test_a_checkpoint_that_does_not_fit_a_detector_of_ones_own_is_named(run_dir):
    name_detector(run_dir, "OwnDetector")
    mimii_pl.load(run_dir, device="cpu", trust=["support"])
    best = run_dir / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, best)
    with pytest.raises(InputError, match=r"best\.ckpt is damaged: Error\(s\) in loading state_dict"):
        mimii_pl.load(run_dir, device="cpu", trust=["support"])


@pytest.mark.slow
def test_an_error_in_a_detector_of_ones_own_that_is_resumed_is_no_damage(run_dir):
    world.write(run_dir.parent / "world", train=8, test=3, seconds=1.0)
    name_detector(run_dir, "FailsOnResuming")
    cfg, run_dir = resumed(str(run_dir), ["trainer.max_epochs=7"], trust=["support"])
    cfg.trainer.logger = False
    with pytest.raises(TypeError, match="unsupported operand"):
        run(cfg, run_dir)


def test_no_name_in_a_checkpoint_is_called(run_dir):
    best = run_dir / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["hyper_parameters"] |= {"_instantiator": "os.mkdir", "_class_path": "os.mkdir"}
    content |= {"hparams_type": "os.mkdir", "hparams_name": "kwargs"}
    torch.save(content, best)
    assert np.isfinite(mimii_pl.load(run_dir, device="cpu").score(np.ones(16000), rate=16000, machine_id="id_00"))
    assert not (run_dir.parent / "executed").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.clear(),
        lambda arrays: arrays.pop(next(iter(arrays))),
        lambda arrays: arrays.update(nothing=np.zeros(1)),
        lambda arrays: arrays.update({"x.y": np.zeros(1)}),
        lambda arrays: arrays.update({name: array[..., :1] for name, array in arrays.items()}),
        lambda arrays: arrays.update({name: array.astype(str) for name, array in arrays.items()}),
    ],
    ids=range(6),
)
def test_a_back_end_that_does_not_fit_is_named(change, run_dir):
    arrays = read_arrays(run_dir / "backend.npz")
    change(arrays)
    write_arrays(run_dir / "backend.npz", arrays)
    refused(run_dir, r"backend\.npz is damaged")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("labels"),
        lambda state: state.update(labels=["fan/id_77"]),
        lambda state: state.update(more=1),
        lambda state: state["thresholds"].update(all=float("nan")),
        lambda state: state["thresholds"].update(all="high"),
        lambda state: state["thresholds"].pop("all"),
        lambda state: state["normal"].update(all=[]),
        lambda state: state["normal"].update(all=[2.0, 1.0]),
        lambda state: state["normal"].update(all=[float("inf")]),
        lambda state: state["normal"].update(all=["a"]),
        lambda state: state.update(thresholds=[1]),
        lambda state: state.update(origin="two\nlines"),
        lambda state: state.update(origin=0.9),
    ],
    ids=range(13),
)
def test_thresholds_that_do_not_fit_are_named(change, run_dir):
    path = run_dir / "thresholds.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))
    refused(run_dir, r"thresholds\.json is damaged")


def test_statistics_that_do_not_fit_are_named(tmp_path):
    run_dir = old_run.restore("classes", tmp_path)
    good = read_arrays(run_dir / "features.npz")
    for arrays in (
        {},
        {"mean": good["mean"]},
        {**good, "std": good["std"] * np.nan},
        {name: array[:, :, :3] for name, array in good.items()},
        {name: array[None] for name, array in good.items()},
    ):
        write_arrays(run_dir / "features.npz", arrays)
        refused(run_dir, r"features\.npz is damaged")
    (run_dir / "features.npz").unlink()
    refused(run_dir, r"features\.npz is missing")


def deflated(path):
    """Compress a zip's parts, as a small file that would take gigabytes of memory is."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)


@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "backend.npz"])
def test_a_compressed_file_is_not_read(name, run_dir):
    deflated(run_dir / name)
    refused(run_dir, rf"{(run_dir / name).name} is damaged: .* is compressed")


def test_a_compressed_estimator_is_not_read(tmp_path):
    estimator = IsolationForest(trees=2).make(20).fit(np.random.default_rng(0).normal(size=(20, 3)))
    path = tmp_path / "estimator"
    path.write_bytes(dump_estimator(estimator, "back end").tobytes())
    deflated(path)
    with pytest.raises(ValueError, match="is compressed"):
        load_estimator(np.frombuffer(path.read_bytes(), np.uint8), "back end")


@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "backend.npz"])
def test_a_bit_that_flipped_is_found(name, run_dir):
    write_digests(run_dir)
    mimii_pl.load(run_dir, device="cpu")
    content = bytearray((run_dir / name).read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(content), 10):
        flipped = content.copy()
        flipped[position] ^= 1 << rng.integers(8)
        (run_dir / name).write_bytes(flipped)
        refused(run_dir, rf"{(run_dir / name).name} is damaged|its features are")


def test_files_of_a_run_that_goes_on_may_change(run_dir):
    write_digests(run_dir)
    write_facts(run_dir, status="running")
    (run_dir / "backend.npz").write_bytes(b"")
    check_digests(run_dir)
    write_facts(run_dir, status="finished")
    with pytest.raises(InputError, match=r"backend\.npz is damaged"):
        check_digests(run_dir)


REDUCED = {  # skops calls a type that it trusts with stored arguments
    "numpy.testing._private.utils.runstring": ["open('executed', 'w')", {}],
    "numpy.load": ["x.npy", None, True],
    "sklearn.utils._testing.set_random_state": [],
    "scipy._lib._pep440.Version": ["1"],
    "os.mkdir": ["executed"],
    "mimii_pl.core.files.write_text": ["executed", ""],
}


def reduced(name):
    """A skops file of a forest whose trees are made by another function than the one of a tree."""
    import skops.io

    forest = IsolationForest(trees=2)
    stored = skops.io.dumps(forest.make(20).fit(np.random.default_rng(0).normal(size=(20, 3))))
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(stored)) as source, zipfile.ZipFile(target, "w") as file:
        for part in source.namelist():
            content = source.read(part)
            if part == "schema.json":
                module, _, attribute = name.rpartition(".")
                text = (
                    content.decode().replace('"sklearn.tree._tree"', f'"{module}"').replace('"Tree"', f'"{attribute}"')
                )
                assert text != content.decode()
                content = text.encode()
            file.writestr(part, content)
    return np.frombuffer(target.getvalue(), np.uint8)


@pytest.mark.parametrize("name", REDUCED)
def test_no_function_that_a_stored_estimator_names_is_called(name, run_dir):
    cfg, forest = OmegaConf.load(run_dir / "config.yaml"), world.composed("backend=isolation_forest")
    cfg.backend = OmegaConf.to_container(forest.backend, resolve=True)
    OmegaConf.save(cfg, run_dir / "config.yaml")
    part = {"mean": np.zeros(8), "std": np.ones(8), "skops": reduced(name)}
    write_arrays(run_dir / "backend.npz", {f"{id_}.{key}": array for id_ in (-1, 0, 1) for key, array in part.items()})
    refused(run_dir, rf"{name}: not loaded")
    assert not (run_dir / "executed").exists()


def test_a_run_that_cannot_score_is_not_registered(run_dir):
    best = run_dir / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    content["state_dict"] = {name: weight * float("nan") for name, weight in content["state_dict"].items()}
    torch.save(content, best)
    arrays = read_arrays(run_dir / "backend.npz")
    assert arrays
    with pytest.raises(InputError, match=r"not finite: it is not registered|is damaged"):
        register(run=str(run_dir))
    best.write_bytes(b"")
    with pytest.raises(InputError, match=r"best\.ckpt is damaged"):
        register(run=str(run_dir))
    assert read_facts(run_dir)["status"] == "finished"
