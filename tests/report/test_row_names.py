"""Names of rows: what a detector changed of its own defaults, and no two rows alike."""

import pytest
from omegaconf import OmegaConf

from mimii_pl.core.config import compose
from mimii_pl.core.default_options import changed_options, default_protocol
from mimii_pl.core.options import flatten
from mimii_pl.report.ranking import split_by_role
from mimii_pl.report.row_names import data_names, detector_names


def options(*overrides):
    """Options of the clips and of the detector, as they are recorded."""
    cfg = compose(overrides)
    OmegaConf.resolve(cfg)
    return split_by_role({**flatten(cfg), **cfg.choices})


def named(*runs):
    clips, configs = zip(*(options(*run) for run in runs), strict=True)
    return detector_names(configs, clips)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=spectrum"], "spectrum + knn"),
        (["model=spectrum", "backend.per_id=false", "backend.density=ratio"], "spectrum + knn (density=ratio, pooled)"),
        (["model=spectrum", "backend=lof"], "spectrum + lof"),
        (["model=dense_ae"], "dense_ae"),
        (["model=dense_ae", "model.lr=0.00012345678"], "dense_ae (lr=0.0001235)"),
        (["model=spectrum", "features=log_mel", "features.n_mels=64"], "spectrum + knn (features=log_mel, n_mels=64)"),
        (["model=complex_ssl", "augmentation=none"], "complex_ssl (augmentation=none)"),
        (
            ["model=complex_ssl", "augmentation=[noise,mixup]", "augmentation.noise.p=0.5"],
            "complex_ssl (augmentation=[mixup,noise], noise.p=0.5)",
        ),
        (["model=spectrum", "dataset.sample_rate=8000"], "spectrum + knn (sample_rate=8000)"),  # features follow
        (["model=dense_ae", "training.epochs=3"], "dense_ae (epochs=3)"),  # trainer.max_epochs follows
        (["model=dense_ae", "dataset=folder", "dataset.root=/else/where", "machine=press", "seed=4"], "dense_ae"),
    ],
)
def test_a_name_has_what_differs_from_the_detectors_own_defaults(overrides, name):
    assert named(overrides) == ([name], "")


def test_what_all_rows_share_stands_once_and_what_is_the_detectors_stays_in_its_name():
    knn = ["model=spectrum", "backend.density=ratio", "training.epochs=5"]
    found = named(knn, [*knn, "backend.k=2"])
    assert found == (["spectrum + knn (density=ratio)", "spectrum + knn (k=2, density=ratio)"], "epochs=5")
    assert named(knn, knn) == (["spectrum + knn (density=ratio, epochs=5)"] * 2, "")  # one detector, run twice


def test_keys_of_one_last_part_are_told_apart():
    names = named(["model=spectrum", "model.frames=5"], ["model=spectrum", "+backend.frames=3", "model.frames=5"]).names
    assert names == ["spectrum + knn (model.frames=5)", "spectrum + knn (backend.frames=3, model.frames=5)"]


def test_names_are_unique_even_where_digits_or_defaults_would_hide_it():
    names = named(["model=dense_ae", "model.lr=0.00012345678"], ["model=dense_ae", "model.lr=0.00012345679"]).names
    assert names == ["dense_ae (lr=0.00012345678)", "dense_ae (lr=0.00012345679)"]
    own = options("model=dense_ae")[1]
    stranger = {key: value for key, value in own.items() if key.startswith("model.")} | {"model": "../mine"}
    names = detector_names([stranger, {**stranger, "model.lr": "7"}]).names  # of an installation that is not ours
    assert names == [f"../mine (lr={own['model.lr']})", "../mine (lr=7)"]
    rows = detector_names([own, own], others=[{"seed": "0"}, {"seed": "1"}])
    assert rows.names == ["dense_ae (seed=0)", "dense_ae (seed=1)"]


def test_a_choice_that_is_no_name_is_not_composed():
    for choice in ("../../x", "dense_ae,hydra.searchpath=[/tmp]", "${oc.env:HOME}", "_classifier"):
        assert changed_options({"model": "dense_ae", "backend": choice, "model.lr": "7"}) == {"model.lr": "7"}
    assert default_protocol("nosuch") == "official"
    assert default_protocol("folder") == "holdout"


def data(*overrides):
    return options("model=level", *overrides)[0]


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        ([["dataset=folder", "dataset.root=/a/b/toycar"]], ["toycar"]),
        ([["dataset=synthetic"], ["dataset=dcase2020"]], ["synthetic", "dcase2020"]),
        (
            [["dataset=folder", "dataset.root=/a/x/toycar"], ["dataset=folder", "dataset.root=/b/y/toycar/"]],
            ["x/toycar", "y/toycar"],
        ),
        (
            [["dataset=folder", "dataset.root=/a/x/toycar"], ["dataset=folder", "dataset.root=/b/x/toycar"]],
            ["a/x/toycar", "b/x/toycar"],
        ),
        ([["dataset=folder", "dataset.root=toycar", "protocol=stratified"]], ["toycar + stratified"]),
        ([["dataset=folder", "dataset.root=."]], ["folder"]),
        ([["dataset=table", "dataset.root=/a/presses/labels.csv"]], ["presses"]),
        (
            [["dataset=synthetic", "dataset.train_clips=40"], ["dataset=synthetic", "dataset.train_clips=80"]],
            ["synthetic (train_clips=40)", "synthetic (train_clips=80)"],
        ),
    ],
)
def test_a_data_set_is_named_by_its_folder(runs, names):
    assert data_names([data(*run) for run in runs]) == names
