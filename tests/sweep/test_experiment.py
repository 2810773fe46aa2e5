"""A run as an experiment: composing it gives the same run, and it can still be varied."""

import pytest
from omegaconf import OmegaConf

from mimii_pl.core.config import CONF, compose
from mimii_pl.core.errors import InputError
from mimii_pl.sweep.experiment import as_experiment

pytestmark = pytest.mark.slow


def finished(folder, *overrides):
    """The resolved configuration that a run with these overrides leaves."""
    cfg = compose(list(overrides))
    cfg.run_dir = str(folder / "a run")
    OmegaConf.resolve(cfg)
    return cfg


def composed(folder, text, *overrides):
    path = folder / "experiment" / "best" / "fan.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    where = f"hydra.searchpath=[machine://any,'file://{folder}']"
    return compose([where, "experiment=best/fan", *overrides])


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=dense_ae", "backend=lof", "backend.k=7", "trainer=smoke", "dataset.batch_size=4", "+dataset.extra=1"],
        ["model=complex_ssl", "machine=press 7", "dataset=folder", "augmentation=[noise]", "augmentation.noise.p=0.7"],
        ["experiment=latent_lof", "protocol.fold=3", "features=stft", "trainer.max_time='00:00:00:25'"],
        ["experiment=demo", "training.epochs=5", "trainer.max_epochs=3", "logger=none"],
        ["task=classification", "target=machine_id", "model=svm", "seed=3"],
    ],
)
def test_an_experiment_is_the_run_that_it_was_written_of(tmp_path, overrides):
    cfg = finished(tmp_path, *overrides)
    again = composed(tmp_path, as_experiment(cfg, "a run"), f"seed={cfg.seed}")
    again.run_dir = cfg.run_dir
    assert what(again) == what(cfg)


def what(cfg):
    """A configuration resolved, without how it came about and where it is recorded."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    del plain["trainer"]["logger"]
    return {**plain, "choices": {**plain["choices"], "experiment": None, "logger": None}}


def test_choices_of_ones_own_are_found_in_their_folder(tmp_path):
    own = tmp_path / "own" / "model" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text((CONF / "model" / "level.yaml").read_text())
    cfg = finished(tmp_path, "model=level")
    cfg.choices.model = "mine"
    with pytest.raises(InputError, match="model=mine: no such choice"):
        as_experiment(cfg, "a run")
    assert "/model: mine" in as_experiment(cfg, "a run", str(tmp_path / "own"))


def test_an_experiment_can_be_varied(tmp_path):
    text = as_experiment(finished(tmp_path, "model=random_forest", "seed=3", "training.epochs=5"), "a run")
    again = composed(tmp_path, text, "seed=8", "training.epochs=9", "run_dir=elsewhere")
    assert (again.model.seed, again.trainer.max_epochs, again.trainer.default_root_dir) == (8, 9, "elsewhere")
    assert not any(word in text for word in ("max_epochs", "a run/", "seed:"))


def test_a_list_that_was_given_keeps_to_its_run(tmp_path):
    given = "[{_target_: mimii_pl.tracking._callbacks.History, path: '${run_dir}/other.csv'}]"
    text = as_experiment(finished(tmp_path, f"trainer.callbacks={given}"), "a run")
    assert composed(tmp_path, text, "run_dir=elsewhere").trainer.callbacks[0].path == "elsewhere/other.csv"


def test_a_choice_that_is_not_there_is_named(tmp_path):
    cfg = finished(tmp_path)
    cfg.choices.model = "somebody_elses"
    with pytest.raises(InputError, match="model=somebody_elses: no such choice"):
        as_experiment(cfg, "a run")
