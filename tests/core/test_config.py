"""The configuration: one name in four places, every choice composes, mistakes get one clear message."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf
from support.cli import mimii

from mimii_pl.core.check import check
from mimii_pl.core.config import CONF, compose
from mimii_pl.core.errors import InputError

CONF, ROOT = CONF, CONF.parent
MIRRORED = ("dataset", "protocol", "features", "augmentation", "model", "backend", "threshold", "task")
OF_COMMANDS = ("hydra", "command", "alarm", "monitor")  # no groups of a run
CHOICES = [
    (group.name, file.stem)
    for group in sorted(CONF.iterdir())
    if group.is_dir() and group.name not in OF_COMMANDS
    for file in sorted(group.glob("[!_]*.yaml"))
]


def rounds():
    """Every choice of every group, one of each group at a time: as few configurations as the largest group needs."""
    groups = {}
    for group, choice in CHOICES:
        groups.setdefault(group, []).append(choice)
    alone = [{group: choice} for group in ("experiment", "features") for choice in groups.pop(group)]
    longest = max(map(len, groups.values()))
    return alone + [{group: names[n] for group, names in groups.items() if n < len(names)} for n in range(longest)]


@pytest.mark.parametrize("chosen", rounds(), ids=lambda chosen: "-".join(chosen.values()))
def test_every_choice_composes_and_passes_the_check(chosen, tmp_path):
    cfg = compose([f"{group}={choice}" for group, choice in chosen.items()])
    cfg.run_dir = str(tmp_path)
    check(cfg)
    assert {group: cfg.choices[group] for group in chosen} == chosen


@pytest.mark.parametrize("group", MIRRORED)
def test_a_choice_is_a_yaml_a_module_and_a_class(group):
    package = ROOT / "mimii_pl" / group
    modules = {file.stem for file in package.glob("[!_]*.py")}
    named = {}
    for file in CONF.joinpath(group).glob("[!_]*.yaml"):
        node = OmegaConf.to_container(OmegaConf.load(file))
        for target in _targets(node):
            named.setdefault(target.rsplit(".", 2)[1], set()).add(file.stem)
            assert get_class(target).__module__ == f"mimii_pl.{group}.{target.rsplit('.', 2)[1]}"
    assert modules == set(named)
    assert all(module in files for module, files in named.items())


def _targets(node):
    for name, value in node.items():
        if name == "_target_":
            yield value
        elif isinstance(value, dict):
            yield from _targets(value)


def test_any_machine_name_is_a_choice():
    assert compose(["machine=bldc"]).machine.name == "bldc"


def test_a_detector_brings_its_features_and_the_command_line_wins():
    assert compose(["model=complex_ssl"]).choices.features == "complex_stft"
    assert compose(["model=complex_ssl", "features=stft"]).choices.features == "stft"


def test_augmentations_combine():
    cfg = compose(["augmentation=[noise,mixup]"])
    assert list(cfg.augmentation) == ["noise", "mixup"]
    assert len(compose(["model=dense_ae"]).augmentation) == 0


@pytest.mark.parametrize("experiment", ["mimii_framework", "latent_lof", "eurecom_cae"])
def test_the_command_line_wins_over_an_experiment(experiment):
    cfg = compose([f"experiment={experiment}", "dataset=synthetic", "machine=pump", "backend=none", "seed=7"])
    check(cfg)
    assert (cfg.choices.dataset, cfg.machine.name, cfg.backend, cfg.seed) == ("synthetic", "pump", None, 7)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.lr=abc"], "model.lr=abc: should be a valid number"),
        (["features.engine=fft"], "features.engine=fft: should be 'auto', 'torch' or 'nnaudio'"),
        (["training.epochs=1.5"], "training.epochs=1.5: should be a valid integer"),
        (["model=dis_spec", "model.feat_ex=1.5"], "model.feat_ex=1.5: should be a share"),
        (["model=dis_spec", "model.resolutions=[1024,0]"], "model.resolutions=0: should be above 0"),
        (["model.margin=-0.1"], "model.margin=-0.1: should be a number from 0"),
        (["dataset.classes=domain"], "dataset.classes=domain: should be 'machine_id' or 'attributes'"),
        (["model.score=auc"], "'cross_entropy', 'entropy' or 'max_probability'"),
        (["+dataset.colour=red"], "dataset.colour: mimii_pl.dataset.dcase.DCASE has no such option"),
        (["dataset.strict=maybe"], "dataset.strict=maybe: should be a valid boolean"),
        (["augmentation.noise.p=often"], "augmentation.noise.p=often: should be a valid number"),
        (["model.lr=-1"], "model.lr=-1: should be above 0"),
        (["features.hop=0"], "features.hop=0: should be above 0"),
        (["dataset.seconds=-1"], "dataset.seconds=-1: should be above 0"),
        (["model=dense_ae", "model.hidden=[64,0]"], "model.hidden=0: should be above 0"),
        (["model=dense_ae", "model.hidden=[]"], "model.hidden=[]: should have at least one number"),
        (["model=conv_ae", "model.channels=[]"], "model.channels=[]: should have at least one number"),
        (["model=conv_ae_image", "model.kernels=[8,6,4,-2]"], "model.kernels=-2: should be above 0"),
        (["seed=-1"], "seed=-1: should be a number from 0"),
        (["protocol.validation=nan"], "protocol.validation=nan: should be a share"),
        (["dataset=synthetic", "dataset.snr_db=nan"], "dataset.snr_db=nan: should be a finite number"),
        (["backend=one_class_svm", "backend.nu=2"], "backend.nu=2: should be a share"),
        (["augmentation=[mixup]", "augmentation.mixup.alpha=0"], "augmentation.mixup.alpha=0: should be above 0"),
        (["report.clips=-3"], "report.clips=-3: should be a number from 0"),
        (["efficiency.seconds=nan"], "efficiency.seconds=nan: should be a number from 0"),
        (["dataset=mimii", "dataset.snr=3"], "dataset.snr=3: should be -6, 0 or 6"),
    ],
)
def test_wrong_types_and_values_are_named(overrides, message, tmp_path):
    cfg = compose([*overrides, f"run_dir={tmp_path}"])
    with pytest.raises(InputError) as error:
        check(cfg)
    assert message in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=complex_sll"], "Did you mean complex_ssl?"),
        (["model.learning_rate=1"], "model.learning_rate: no such key. model has: head, margin, scale, subclusters, "),
        (["datset=mimii"], "Did you mean dataset?"),
        (["dataset.root=nowhere", "dataset.download=false"], "dataset=synthetic"),
    ],
)
def test_the_command_line_says_one_thing_and_no_stack_trace(overrides, message, tmp_path):
    done = mimii("train", *overrides, "logger=none", cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_help_names_every_group_and_shows_examples(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for group in [path.name for path in CONF.iterdir() if path.is_dir() and path.name not in OF_COMMANDS]:
        assert group in done.stdout
    assert done.stdout.count("python train.py") >= 3
    assert not Path(tmp_path, "outputs").exists()
