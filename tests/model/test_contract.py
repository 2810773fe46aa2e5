"""The contract of every detector, tested on every file of conf/model."""

from typing import Any

import numpy as np
import pytest
import torch
from support import world

from mimii_pl.core import check
from mimii_pl.core.config import CONF, build
from mimii_pl.model._estimator_classifier import EstimatorClassifier
from mimii_pl.model._training_free import TrainingFree
from mimii_pl.report.localize import localize
from mimii_pl.run import run
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scorer import Scorer

NAMES = sorted(file.stem for file in CONF.joinpath("model").glob("[!_]*.yaml"))
CLASSIFIERS = [name for name in NAMES if "_classifier" in CONF.joinpath(f"model/{name}.yaml").read_text()]
LESSONS = [  # only pitch distinguishes these machines; mobilenet_v2 pools over frequency and learns it late
    (name, target)
    for name in CLASSIFIERS
    for target in ("condition", "machine_id")
    if (name, target) != ("mobilenet_v2", "machine_id")
]
CLIPS = 6


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("contract") / "world")


def quick(cfg):
    """Reduce the steps of AnoGAN's search."""
    if "steps" in cfg.model:
        cfg.model.steps = 20
    return cfg


@pytest.fixture(scope="module", params=NAMES)
def built(request, root):
    """Return configuration, data module and an untrained detector in evaluation mode."""
    torch.manual_seed(0)
    cfg = quick(world.configured(root, f"model={request.param}"))
    data = world.data_of(cfg)
    detector = build(cfg.model, data.in_shape, len(data.labels)).eval()
    data.crop = detector.crop
    data.fit_features()
    return cfg, data, detector


def scorer(data, detector, batch_size=32):
    return Scorer(
        detector,
        data.features,
        labels=data.labels,
        sample_rate=16000,
        samples=data.samples,
        batch_size=batch_size,
    )


def test_one_finite_score_per_clip(built):
    _, data, detector = built
    scores = scorer(data, detector).score_waves(data.waves[:CLIPS], data.machine_id[:CLIPS])
    assert scores.shape == (CLIPS,)
    assert np.isfinite(scores).all()


def test_silence_and_full_scale_get_finite_scores(built):
    _, data, detector = built
    waves = np.zeros((2, data.samples), np.int16)
    waves[1] = np.where(np.arange(data.samples) % 2, 32767, -32768)
    assert np.isfinite(scorer(data, detector).score_waves(waves, np.array([0, 1]))).all()


def test_a_score_does_not_depend_on_its_neighbours(built):
    _, data, detector = built
    waves, ids = data.waves[:CLIPS], data.machine_id[:CLIPS]
    together = scorer(data, detector).score_waves(waves, ids)
    alone = scorer(data, detector, batch_size=1).score_waves(waves, ids)
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_the_embedding_is_one_vector_per_clip(built):
    _, data, detector = built
    if not detector.has_embedding:
        with pytest.raises(NotImplementedError):
            detector.embed(None)
        return
    embeddings = scorer(data, detector).embed_waves(data.waves[:CLIPS], data.machine_id[:CLIPS])
    assert embeddings.ndim == 2
    assert len(embeddings) == CLIPS
    assert np.isfinite(embeddings).all()


@pytest.mark.slow
def test_an_anomaly_is_localized_within_the_clip(built, monkeypatch):
    _, data, detector = built
    if detector.name == "anogan":  # too slow to be scored again and again
        monkeypatch.setattr("mimii_pl.report.localize.PATIENCE", 0.0)
    loaded = scorer(data, detector)
    found = localize(loaded, data.waves[0], int(data.machine_id[0]), data.waves[1:4])
    if found is None:
        assert detector.name == "anogan"
        return
    assert np.isfinite(found.amount).all()
    assert found.amount.any() or isinstance(detector, EstimatorClassifier)  # not fitted here: one score for all
    assert len(found.hertz) == len(found.amount) + 1
    assert (np.diff(found.hertz) > 0).all()
    assert 0 <= found.hertz[0] < 100
    assert 7500 < found.hertz[-1] <= 8000
    if detector.supports("error_map"):
        batch = loaded.batch(data.waves[:2], data.machine_id[:2])
        with torch.inference_mode():
            errors, scores = detector.error_map(batch), detector.score(batch)
        assert errors.shape[::2] == (2, batch.spec.shape[3])
        assert (errors >= 0).all()
        if errors.shape[1] > 1 and detector.name not in ("f_anogan", "idnn"):  # their scores have other parts
            assert errors.mean(dim=(1, 2)).tolist() == pytest.approx(scores.tolist(), rel=0.3)


def test_the_loss_reaches_every_parameter(built):
    _, data, detector = built
    if isinstance(detector, TrainingFree):
        assert not list(detector.parameters())
        return
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    detector.train()
    detector.zero_grad()
    detector.loss(batch).backward()
    detector.eval()
    unreached = [name for name, p in detector.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not unreached


def test_hyperparameters_are_primitives_with_a_type(built):
    cfg, _, detector = built
    plain = (int, float, str, bool, type(None), list, tuple)
    assert all(isinstance(value, plain) for value in detector.hparams.values())
    options = {name for name in cfg.model if not name.startswith("_")}
    accepted = check.parameters(cfg.model._target_)
    assert options == set(accepted) - {"in_shape", "n_ids", "n_classes"}
    assert set(accepted) == set(detector.hparams)
    assert all(kind is not Any for kind in accepted.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers")  # batches are gathers from a memory map
@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_give_bit_equal_scores(name, root, tmp_path):
    cfg = quick(world.configured(root, f"model={name}", f"run_dir={tmp_path}", "trainer=smoke"))
    data = world.data_of(cfg)
    detector = build(cfg.model, data.in_shape, len(data.labels))
    data.crop = detector.crop
    data.fit_features()
    trainer = build(cfg.trainer)
    trainer.fit(detector, data, weights_only=True)
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    detector.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    loaded = type(detector).load_from_checkpoint(checkpoint, weights_only=True)
    waves, ids = data.of("test")
    trained = scorer(data, detector).score_waves(waves, ids)
    assert len(trained) == len(waves)
    np.testing.assert_array_equal(scorer(data, loaded).score_waves(waves, ids), trained)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in CLASSIFIERS])
def test_after_a_short_training_anomalies_outrank_normals(name, root, tmp_path):
    epochs = {"complex_ssl": 15, "conv_ae": 20, "wave_ae": 25}.get(name, 40)  # as many as the slow ones need
    cfg = world.configured(root, f"model={name}", f"training.epochs={epochs}", "dataset.batch_size=8")
    cfg.training.patience = epochs
    if "lr" in cfg.model:
        cfg.model.lr = 1e-3
    run(quick(cfg), tmp_path)
    results = read_results(tmp_path / "results.csv")
    per_id = {r.id: r.value for r in results if r.metric == "auc" and r.id.startswith("id_")}
    assert set(per_id) == {"id_00", "id_02"}
    assert sum(per_id.values()) / 2 > (0.6 if name == "level" else 0.8)  # faults are hardly louder in this world


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_each_clip_a_probability_of_each_class(name, root):
    torch.manual_seed(0)
    cfg = world.configured(root, f"model={name}", "task=classification")
    data = world.data_of(cfg)
    data.fit_features()
    detector = build(cfg.model, data.in_shape, 3).eval()
    shares = scorer(data, detector).classify_waves(data.waves[:CLIPS], data.machine_id[:CLIPS])
    assert shares.shape == (CLIPS, 3)
    assert (shares > 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "target"), LESSONS)
def test_after_a_short_training_classes_are_distinguished(name, target, root, tmp_path):
    options = ["task=classification", f"target={target}", "training.epochs=20", "dataset.batch_size=8"]
    run(world.configured(root, f"model={name}", *options), tmp_path)
    values = {(r.id, r.metric): r.value for r in read_results(tmp_path / "results.csv")}
    assert values["all", "balanced_accuracy"] > 0.8
