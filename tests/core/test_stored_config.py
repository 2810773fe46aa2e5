"""Configurations of run directories that a stranger may have written."""

import os
import re

import numpy as np
import pytest
from omegaconf import OmegaConf
from support import old_run, world

import mimii_pl
from mimii_pl.core import stored_config
from mimii_pl.core.arguments import escaped
from mimii_pl.core.config import CONF
from mimii_pl.core.errors import InputError
from mimii_pl.core.freeze import freeze_config
from mimii_pl.core.stored_config import read_config
from mimii_pl.core.trusted_classes import PLACES, trust_classes
from mimii_pl.rerun import decide, rescore, resumed
from mimii_pl.sweep.experiment import as_experiment
from mimii_pl.sweep.register import register

NAMED = sorted(  # (group, class) of every file of conf/ that names a class
    {
        (path.parent.name, name)
        for path in CONF.glob("*/*.yaml")
        if path.parent.name != "hydra" and path.stem != "auto"  # a callback of Hydra, as those of conf/hydra
        for name in re.findall(r"_target_: ([\w.]+)", path.read_text())
    }
)
GROUPS = {"logger": "trainer.logger", "augmentation": "augmentation.x"}  # where another place than the group's
PARTS = {
    "callbacks": "trainer.callbacks.0",
    "sync_batch_norm": "trainer.plugins.0",
    "checkpoints": "trainer.callbacks.0",
}
PARTS |= {"samplers": "sweep.sampler", "pruners": "sweep.pruner"}
CODE = {"astr": "open('executed', 'w')", "dict": {}}  # arguments of numpy's `runstring`, which executes the text
STRANGERS = [  # nodes that would execute code, write, or build what is not for the place
    {"_target_": "numpy.testing.runstring", **CODE},
    {"_target_": "mimii_pl.core.files.np.testing.runstring", **CODE},
    {"_target_": "mimii_pl.core.stored_config.import_module", "name": "antigravity"},
    {"_target_": "mimii_pl.core.files.write_text", "path": "executed", "text": ""},
    {"_target_": "mimii_pl.scoring.load_run.torch.load", "f": "x.pt", "weights_only": False},
    {"_target_": "torch.load", "f": "x.pt", "weights_only": False},
    {"_target_": "logging.FileHandler", "filename": "executed"},
    {"_target_": "mimii_pl.run.logging.FileHandler", "filename": "executed"},
    {"_target_": "mimii_pl.tracking.store.TYPE_CHECKING"},
    {"_target_": "builtins.eval", "source": "open('executed', 'w')"},
    {"_target_": "os.system", "command": "touch executed"},
    {"_target_": "mimii_pl.core.errors.InputError"},
    {"_target_": "pytorch_lightning.callbacks.LambdaCallback"},
    {"_target_": ""},
]


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A finished run of an earlier version: a network with a back end."""
    monkeypatch.chdir(tmp_path)
    world.write(tmp_path / "world", train=4, test=2, seconds=1.0)
    return old_run.restore("anomaly", tmp_path)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """The configuration of a run alone, as it is frozen."""
    monkeypatch.chdir(tmp_path)
    freeze_config(world.composed("model=dense_ae", "backend=knn", "logger=mlflow"), tmp_path)
    return tmp_path


def change(run_dir, place, value):
    cfg = OmegaConf.load(run_dir / "config.yaml")
    OmegaConf.update(cfg, place, value, force_add=True, merge=False)
    OmegaConf.save(cfg, run_dir / "config.yaml")


@pytest.mark.parametrize(("group", "name"), NAMED)
def test_every_class_that_conf_names_is_trusted_at_its_place(group, name, stored):
    place = PARTS.get(name.split(".")[-2], GROUPS.get(group, group))
    node = {"_target_": name}
    for part in reversed(place.split(".")):
        node = [node] if part == "0" else {part: node}
    cfg = OmegaConf.merge(read_config(stored), node)
    assert list(trust_classes(cfg, places={place})) == [place]


def test_a_search_is_read_back_and_trusted(tmp_path):
    freeze_config(world.composed("model=dense_ae", "sweep=optuna"), tmp_path)
    assert {"sweep.sampler", "sweep.pruner"} <= set(trust_classes(read_config(tmp_path)))


@pytest.mark.parametrize("place", [place.replace("callbacks.*", "callbacks").replace("*", "x") for place in PLACES])
def test_a_class_that_is_not_for_its_place_is_refused(place, stored):
    for node in STRANGERS:
        change(stored, place, [node] if place.endswith("callbacks") else node)
        with pytest.raises(InputError, match="not loaded"):
            trust_classes(read_config(stored))
    assert not (stored / "executed").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("features.normalize", [{"_target_": "numpy.testing.runstring", **CODE}]),
        ("model.hidden", {"deep": {"_target_": "numpy.testing.runstring", **CODE}}),
        ("dataset.normal", [["a", {"_target_": "os.system", "command": "touch executed"}]]),
        ("backend._args_", ["touch executed"]),
        ("backend._args_", []),
        ("report._target_", {"a": 1}),
        ("backend._partial_", True),
        ("features._recursive_", False),
        ("report", {"_target_": "numpy.testing.runstring", **CODE}),
        ("sweep", {"storage": {"_target_": "os.system", "command": "touch executed"}}),
        ("machine.name", "${oc.env:HOME}"),
        ("dataset.root", "${oc.create:{a:1}}"),
        ("dataset.channel", "${search_name:a}"),
        ("features.n_mels", "${oc.decode:'[1]'}"),
    ],
)
def test_only_plain_values_are_read(place, value, stored):
    change(stored, place, value)
    with pytest.raises(InputError, match=r"config\.yaml: .*not loaded"):
        read_config(stored)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1",
        "a: [",
        "\0",
        "x" * 3_000_000,
        "a: &a [1]\nb: *a",
        "a: !!python/object/apply:os.system [touch executed]",
        "model: !!python/name:os.system",
        "a: 1\na: 2",
        "choices: null",
        "[" * 100_000,
        "{a: " * 200 + "1" + "}" * 200,
    ],
    ids=range(12),
)
def test_a_text_that_is_no_configuration_is_named(text, stored):
    (stored / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml is damaged"):
        trust_classes(read_config(stored))


@pytest.mark.parametrize("section", ["machine", "dataset", "features", "model", "trainer", "choices"])
def test_a_section_that_is_missing_is_named(section, stored):
    change(stored, section, None)
    with pytest.raises(InputError, match=rf"config\.yaml is damaged: it has no section {section}"):
        trust_classes(read_config(stored))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model", -5),
        ("model", {"lr": 1}),
        ("backend", [[]]),
        ("threshold", "percentile"),
        ("augmentation", {"noise": -5}),
        ("augmentation", ["noise"]),
        ("trainer.callbacks", [1]),
    ],
)
def test_what_names_no_class_where_one_belongs_is_named(place, value, stored):
    change(stored, place, value)
    with pytest.raises(
        InputError, match=r"config\.yaml is damaged: (.* does not name a class|it has no section model)"
    ):
        trust_classes(read_config(stored))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("hydra", {"job_logging": {"formatters": {"evil": {"()": "os.mkdir"}}}}),
        ("hydra", {"job": {"env_set": {"LD_PRELOAD": "evil.so"}}}),
        ("defaults", [{"model": "dense_ae"}]),
        ("command", "os.mkdir"),
        ("hydra.job", {"chdir": True}),
        ("hydra[job]", {"chdir": True}),
    ],
)
def test_nothing_of_the_machinery_is_read(place, value, stored):
    cfg = OmegaConf.load(stored / "config.yaml")
    cfg._set_item_impl(place, value)
    OmegaConf.save(cfg, stored / "config.yaml")
    with pytest.raises(InputError, match=r"not loaded: (.* is for the machinery|a key has a dot or a bracket)"):
        read_config(stored)


@pytest.mark.parametrize("key", ["strategy._target_", "strategy[_target_]", "[strategy]", "a.b", "strategy."])
@pytest.mark.parametrize("place", ["trainer", "model", "augmentation", "extra"])
def test_a_key_is_one_key(key, place, stored):
    cfg = OmegaConf.to_container(OmegaConf.load(stored / "config.yaml"))
    cfg.setdefault(place, {})[key] = "os.mkdir"
    OmegaConf.save(cfg, stored / "config.yaml")
    with pytest.raises(InputError, match="not loaded: a key has a dot or a bracket"):
        read_config(stored)


def test_an_experiment_names_no_class_that_was_not_checked(stored):
    cfg = read_config(stored)
    cfg.trainer._set_item_impl("strategy._target_", "os.mkdir")  # as if it had not been noticed
    with pytest.raises(InputError, match=r"strategy\._target_=os\.mkdir: not loaded"):
        as_experiment(cfg, "a run")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("dataset.sample_rate", -16000),
        ("dataset.batch_size", 0),
        ("dataset.sample_rate", "fast"),
        ("dataset.channel", {"a": 1}),
        ("dataset.channel", "left"),
        ("dataset.full_scale", 0),
        ("dataset.full_scale", "loud"),
        ("features.n_mels", -1),
        ("features.n_mels", "many"),
        ("features.n_fft", 0),
        ("features.hop", 0),
        ("features.nothing", 1),
        ("features.n_mels", 64),
        ("features.normalize", "train"),
        ("backend", None),
        ("backend.k", "five"),
    ],
)
def test_a_value_that_does_not_fit_is_named(place, value, run_dir):
    change(run_dir, place, value)
    with pytest.raises(InputError, match=r"damaged|missing|no such option|should be"):
        mimii_pl.load(run_dir)


@pytest.mark.parametrize("command", ["rescore", "decide"])
def test_a_size_that_is_not_positive_is_named_in_the_file_that_says_so(command, run_dir):
    change(run_dir, "dataset.batch_size", 0)
    cfg = world_of(command, run_dir)
    with pytest.raises(InputError, match=rf"^{run_dir / 'config.yaml'}: dataset\.batch_size=0: should be above 0"):
        decide(cfg) if command == "decide" else rescore(cfg, run_dir.parent / "again")
    assert not (run_dir.parent / "again").exists()


def test_every_command_refuses_before_anything_is_built(run_dir):
    change(run_dir, "protocol", {"_target_": "logging.FileHandler", "filename": "executed"})
    commands = [
        lambda: resumed(str(run_dir), []),
        lambda: decide(world_of("decide", run_dir)),
        lambda: rescore(world_of("rescore", run_dir), run_dir.parent / "again"),
    ]
    for command in commands:
        with pytest.raises(InputError, match=r"protocol._target_=logging.FileHandler: not loaded"):
            command()
    change(run_dir, "protocol", {"_target_": "mimii_pl.protocol.official.Official"})
    change(run_dir, "model._target_", "numpy.testing.runstring")
    for command in (lambda: mimii_pl.load(run_dir), lambda: register(run=str(run_dir))):
        with pytest.raises(InputError, match=r"model._target_=numpy.testing.runstring: not loaded"):
            command()
    assert not (run_dir.parent / "executed").exists()


def world_of(command, run_dir):
    from mimii_pl.core.config import compose

    return compose([f"run={run_dir}", *(["logger=none"] if command == "rescore" else [])], f"command/{command}")


def test_a_trainer_that_would_write_elsewhere_is_refused(run_dir):
    change(run_dir, "trainer.callbacks", [{"_target_": "mimii_pl.core.callbacks.History", "path": "/elsewhere.csv"}])
    with pytest.raises(InputError, match=r"trainer\.callbacks\.0\.path=/elsewhere.csv: not loaded"):
        resumed(str(run_dir), [])
    change(run_dir, "trainer.callbacks", [])
    change(run_dir, "trainer.default_root_dir", f"{run_dir}/../elsewhere")
    with pytest.raises(InputError, match="would write outside"):
        resumed(str(run_dir), [])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("choices.threshold", "../../../../tmp/evil"),
        ("choices.threshold", "/tmp/evil"),
        ("choices.threshold", "file:///tmp/evil"),
        ("choices.model", ["dense_ae", "../evil"]),
        ("choices.machine", "..\\evil"),
        ("choices.experiment", "../evil"),
        ("choices.hydra/launcher", "joblib"),
        ("augmentation", {"../../evil": {"_target_": "mimii_pl.augmentation.noise.Noise"}}),
    ],
)
def test_a_choice_is_a_name_and_no_path(place, value, stored):
    cfg = read_config(stored)
    OmegaConf.update(cfg, place, value, force_add=True, merge=False)
    with pytest.raises(InputError, match=r"config\.yaml is damaged: choices\."):
        trust_classes(cfg)


def test_a_name_cannot_add_lines_to_an_experiment(stored):
    cfg = read_config(stored)
    text = as_experiment(cfg, "Winner on fan\nhydra: {callbacks: {x: {_target_: joblib.load}}}\r\u2028#")
    assert text.splitlines()[1].startswith("# Winner on fan")
    assert "hydra" not in OmegaConf.create(text)


@pytest.mark.parametrize("name", ["run.log", "mlflow.jsonl", "checkpoints", "challenge", ".lock"])
def test_what_is_written_in_place_is_no_link(name, run_dir):
    elsewhere = run_dir.parent / "elsewhere"
    elsewhere.mkdir()
    if (run_dir / name).is_dir():
        (run_dir / name).rename(run_dir / "own")
    (run_dir / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=rf"{name} is a link or a special file: not used"):
        resumed(str(run_dir), [])
    (run_dir / name).unlink()
    os.mkfifo(run_dir / name)
    with pytest.raises(InputError, match=rf"{name} is a link or a special file: not used"):
        decide(world_of("decide", run_dir))


def test_the_classes_of_a_package_are_loaded_once_it_is_trusted(run_dir, monkeypatch):
    package = run_dir.parent / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from mimii_pl.model.dense_ae import DenseAE\nclass Mine(DenseAE): pass\nclass Other: pass\n"
    )
    monkeypatch.syspath_prepend(str(run_dir.parent))
    change(run_dir, "model._target_", "own_package.Mine")
    with pytest.raises(InputError, match=r"own_package.Mine: not loaded.*trust="):
        mimii_pl.load(run_dir)
    assert type(mimii_pl.load(run_dir, trust=["own_package"], device="cpu").detector).__name__ == "Mine"
    change(run_dir, "model._target_", "own_package.Other")
    with pytest.raises(InputError, match="expected a subclass of Detector"):
        mimii_pl.load(run_dir, trust=["own_package"])
    change(run_dir, "model._target_", "own_package.DenseAE")
    assert np.isfinite(mimii_pl.load(run_dir, trust=["own_package"], device="cpu").score(np.ones(16000), rate=16000))


def test_a_new_configuration_that_could_not_be_read_back_is_refused_before_training(tmp_path):
    cfg = world.composed("model=dense_ae", "+report.extra={_target_:torch.nn.Identity}")
    with pytest.raises(InputError, match="not loaded: a class may be named"):
        freeze_config(cfg, tmp_path / "run")


def test_files_of_the_run_are_where_its_directory_is_now(run_dir):
    moved = run_dir.rename(run_dir.parent / "moved")
    cfg = read_config(moved)
    paths = [callback.get("dirpath", callback.get("path")) for callback in cfg.trainer.callbacks]
    assert [path for path in paths if path] == [f"{moved}/history.csv", f"{moved}/checkpoints"]
    assert cfg.run_dir == cfg.trainer.default_root_dir == str(moved)
    assert cfg.dataset.root == str(run_dir.parent / "world")


def test_a_configuration_is_parsed_once_and_stays_what_is_stored(run_dir):
    first = read_config(run_dir)
    first.dataset.root = "changed"
    with (run_dir / "config.yaml").open("a") as file:
        file.write("added: 1\n")
    again = read_config(run_dir)
    assert again.dataset.root != "changed"
    assert again.added == 1
    parsed = stored_config._parsed.cache_info().misses
    assert read_config(run_dir) == again
    assert stored_config._parsed.cache_info().misses == parsed


def test_a_run_whose_folder_looks_like_an_interpolation_scores_and_is_not_changed(run_dir):
    place = run_dir.rename(run_dir.parent / "a${x}b")
    stored = (place / "config.yaml").read_text()
    assert mimii_pl.load(place, device="cpu").labels
    assert read_config(place).run_dir == str(place)
    for begin in (lambda: decide(world_of("decide", escaped(str(place)))), lambda: resumed(str(place), [])):
        with pytest.raises(InputError, match=r"a\$\{x\}b: with \$\{ in its name, a run can score recordings only"):
            begin()
    assert (place / "config.yaml").read_text() == stored


SCALARS = """
a: 1e-3
b: 1_000
c: 0o17
d: on
e: 12:30
f: 2020-01-01
g: .inf
h: null
i: '1'
1: ~
2.5: {x: [é, "\\u00e9"]}
"""


def test_yaml_is_read_as_omegaconf_reads_it(stored):
    for text in (SCALARS, (stored / "config.yaml").read_text()):
        assert stored_config._parsed(text) == OmegaConf.to_container(OmegaConf.create(text))


@pytest.mark.parametrize("line", ["? [a]\n: 1", "? !!binary YQ==\n: 1", "null: 1", "null: {}", "? {}\n: {}"])
def test_a_key_that_is_none_is_named(line, stored):
    with (stored / "config.yaml").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        trust_classes(read_config(stored))
