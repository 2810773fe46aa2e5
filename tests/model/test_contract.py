"""The contract of every detector, tested on every file of conf/model."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from support import world

from mimii_pl.core import check
from mimii_pl.core.config import CONF, build
from mimii_pl.core.errors import InputError
from mimii_pl.dataset import MachineSounds
from mimii_pl.model import Detector
from mimii_pl.model._estimator_classifier import EstimatorClassifier
from mimii_pl.model._training_free import TrainingFree
from mimii_pl.report.localize import localizer
from mimii_pl.run import build_detector, run
from mimii_pl.scoring.results import read_results
from mimii_pl.scoring.scorer import Scorer
from mimii_pl.training import require_long_clips, train_detector

NAMES = sorted(file.stem for file in CONF.joinpath("model").glob("[!_]*.yaml"))
CLASSIFIERS = [name for name in NAMES if "_classifier" in CONF.joinpath(f"model/{name}.yaml").read_text()]
SLOW = ["anogan", "attention_ae", "conv_ae", "conv_ae_image", "conv_vae_image", "f_anogan", "lstm_ae", "skip_ae"]
SOON = {"complex_ssl": 8, "dis_spec": 7, "flow": 14, "outlier_exposure": 14, "stgram": 20, "tfgram": 17, "wave_ae": 15}
EPOCHS = dict.fromkeys(SLOW, 15) | SOON  # of slow ones, about twice as many as it takes; of others 25
LEARNS_BETTER = {  # or sooner
    "complex_ssl": ["features.n_fft=512"],
    "dis_spec": ["model.seconds=2.2"],
    "mobilenet_v2": ["model.dropout=0", "model.lr=3e-3"],
    "outlier_exposure": ["backend=knn"],  # of two machine IDs, logits tell one direction alone
    "pretrained": ["model.weights=random"],
    "stgram": ["features.n_mels=64"],
    "wave_ae": ["model.channels=[16,32,64]", "model.lr=3e-3"],
}
CLIPS = 6
LONG = ("complex_ssl", "dis_spec", "pretrained", "wave_ae")  # a second of every test


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("contract") / "world")


def quick(cfg):
    """Reduce the steps of AnoGAN's search."""
    if "steps" in cfg.model:
        cfg.model.steps = 20
    return cfg


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in NAMES]
)
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


def test_batches_in_threads_are_scored_as_one_after_the_other(built):
    _, data, detector = built
    if not detector.one_thread_per_batch:
        pytest.skip("its batches are scored one after the other")
    waves, ids = np.tile(data.waves[:CLIPS], (3, 1)), np.tile(data.machine_id[:CLIPS], 3)
    small, scores, before = scorer(data, detector, batch_size=1), [], torch.get_num_threads()
    weights, buffers = dict(detector.named_parameters()), [one for one in detector.buffers() if one.is_floating_point()]
    kept = [buffer.clone() for buffer in buffers]
    try:
        for buffer in buffers:  # averages of weights, for example, differ from them once they are trained
            buffer.mul_(1.01)
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert small.batches_at_once == threads
            scores.append(small.score_waves(waves, ids))
    finally:
        torch.set_num_threads(before)
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)
    np.testing.assert_array_equal(*scores)
    assert all(after is weights[name] for name, after in detector.named_parameters())


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


def test_one_pass_gives_what_single_ones_do(built):
    _, data, detector = built
    whole, clips = scorer(data, detector), (data.waves[:CLIPS], data.machine_id[:CLIPS])
    single = {"score": whole.score_waves}
    if detector.has_embedding:
        single["embedding"] = whole.embed_waves
    if detector.supports("classify"):
        single["probability"] = whole.classify_waves
    passed = whole.pass_waves(*clips, list(single))
    assert not set(detector.shared) & set(vars(detector))
    for name, method in single.items():
        np.testing.assert_array_equal(getattr(passed, name), method(*clips))


@pytest.mark.slow
def test_an_anomaly_is_localized_within_the_clip(built, monkeypatch):
    _, data, detector = built
    if detector.name == "anogan":  # too slow to be scored again and again
        monkeypatch.setattr("mimii_pl.report.localize.PATIENCE", 0.0)
    loaded = scorer(data, detector)
    found = localizer(loaded, int(data.machine_id[0]), data.waves[1:4])(data.waves[0])
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
    cfg, data, detector = built
    if isinstance(detector, TrainingFree):
        assert not list(detector.parameters())
        return
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    unreached = without_gradient(detector, batch)
    for seed in range(1, 5):  # a layer of one or two rectified units, as in dis_spec, may be silent as it is drawn
        if unreached:
            torch.manual_seed(seed)
            unreached &= without_gradient(build(cfg.model, data.in_shape, len(data.labels)), batch)
    assert not unreached


def without_gradient(detector, batch):
    """The parameters that the loss of a batch does not reach."""
    detector.train()
    detector.zero_grad()
    detector.loss(batch).backward()
    detector.eval()
    return {name for name, p in detector.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}


def test_hyperparameters_are_primitives_with_a_type(built):
    cfg, _, detector = built
    plain = (int, float, str, bool, type(None), list, tuple)
    assert all(isinstance(value, plain) for value in detector.hparams.values())
    options = {name for name in cfg.model if not name.startswith("_")}
    accepted = check.parameters(cfg.model._target_)
    assert options == set(accepted) - {"in_shape", "n_ids", "n_classes"}
    assert set(accepted) == set(detector.hparams)
    assert all(kind is not Any for kind in accepted.values())


class Lesson(NamedTuple):
    """A detector after a short training: as it was in memory, and what its run left on disk."""

    name: str
    detector: Detector
    data: MachineSounds
    run_dir: Path

    def results(self, *metrics: str) -> dict[tuple[str, str], float]:
        rows = read_results(self.run_dir / "results.csv")
        return {(r.id, r.metric): r.value for r in rows if r.metric in metrics}


def learned(run_dir, name, root, *options):
    """Train a detector as `mimii train` does; keep it in memory as well."""
    cfg = quick(world.configured(root, f"model={name}", "dataset.batch_size=8", "report=none", *options))
    kept = {}

    def train_and_keep(trainer, detector, data, *others):
        train_detector(trainer, detector, data, *others)
        kept.update(detector=detector, data=data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mimii_pl.run.train_detector", train_and_keep)
        run(cfg, run_dir)
    return Lesson(name, **kept, run_dir=run_dir)


@pytest.fixture(scope="session")
def short(tmp_path_factory):
    """The same world with clips of a second, enough to learn from."""
    return world.write(tmp_path_factory.mktemp("lessons") / "world", seconds=1.0)


@pytest.fixture(scope="module", params=NAMES)
def lesson(request, short, tmp_path_factory):
    """Each detector after a short training; a classifier has learned to recognise anomalies."""
    name, run_dir = request.param, tmp_path_factory.mktemp(request.param)
    epochs = 20 if name in CLASSIFIERS else EPOCHS.get(name, 25)
    options = [f"training.epochs={epochs}", f"training.patience={epochs}"]
    if name in CLASSIFIERS:
        options += ["task=classification", "target=condition"]
    elif "lr" in world.composed(f"model={name}").model:
        options += ["model.lr=1e-3"]
    return learned(run_dir, name, short, *options, *LEARNS_BETTER.get(name, []))


@pytest.mark.slow
def test_after_a_short_training_anomalies_outrank_normals(lesson):
    if lesson.name in CLASSIFIERS:
        assert lesson.results("balanced_accuracy")["all", "balanced_accuracy"] > 0.8
        return
    values = lesson.results("auc")
    per_id = [values["id_00", "auc"], values["id_02", "auc"]]
    assert np.mean(per_id) > (0.6 if lesson.name == "level" else 0.8)  # faults are hardly louder there


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers")  # batches are gathers from a memory map
def test_checkpoints_give_bit_equal_scores(lesson):
    path, detector = lesson.run_dir / "checkpoints" / "best.ckpt", lesson.detector
    detector.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    loaded = type(detector).load_from_checkpoint(path, weights_only=True)
    waves, ids = lesson.data.of("test")
    predict = "classify_waves" if lesson.name in CLASSIFIERS else "score_waves"
    trained = getattr(scorer(lesson.data, detector.eval()), predict)(waves, ids)
    assert len(trained) == len(waves)
    np.testing.assert_array_equal(getattr(scorer(lesson.data, loaded), predict)(waves, ids), trained)


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
@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name != "mobilenet_v2"])
def test_after_a_short_training_machine_ids_are_distinguished(name, short, tmp_path):
    """Pitch alone distinguishes these machines, which mobilenet_v2, pooling over frequency, learns late."""
    lesson = learned(tmp_path, name, short, "task=classification", "target=machine_id", "training.epochs=20")
    assert lesson.results("balanced_accuracy")["all", "balanced_accuracy"] > 0.8


@pytest.mark.parametrize("rate", [1000, 2560])
@pytest.mark.parametrize("name", NAMES)
def test_clips_of_few_frames_are_scored_or_named_before_training(name, rate, root):
    torch.manual_seed(0)
    cfg = quick(world.configured(root, f"model={name}", f"dataset.sample_rate={rate}", "dataset.seconds=1"))
    data = world.data_of(cfg)
    message = ""
    try:
        detector = build_detector(cfg, data)
        data.fit_features()
        state = torch.get_rng_state()
        require_long_clips(detector, data)
    except InputError as error:
        message = str(error)
    if message:
        assert all(key in message for key in ("features.hop", "features.n_fft", "dataset.seconds"))
        assert data.in_shape[2] < 16  # the largest window of them all
        assert "\n" not in message
        return
    assert torch.equal(state, torch.get_rng_state())
    assert detector.training
    scores = scorer(data, detector.eval()).score_waves(data.waves[:CLIPS], data.machine_id[:CLIPS])
    assert np.isfinite(scores).all()


def test_a_clip_shorter_than_half_a_transform_is_named_before_training(root):
    cfg = world.configured(root, "model=level", "dataset.sample_rate=1000", "dataset.seconds=0.5")
    data = world.data_of(cfg)
    with pytest.raises(InputError, match=r"features.n_fft=1024: set features.n_fft to 500 or less, or set dataset.sec"):
        require_long_clips(build_detector(cfg, data), data)


def test_a_last_batch_of_one_window_is_named(root, tmp_path):
    cfg = world.configured(root, "model=dense_ae", "dataset.seconds=0.15", "dataset.batch_size=3", "training.epochs=1")
    data = world.data_of(cfg)
    assert (data.in_shape[2], len(data.rows("train")) % 3) == (5, 1)
    with pytest.raises(InputError, match=r"model=dense_ae.*more than 1 value per channel.*dataset.batch_size"):
        run(cfg, tmp_path)
