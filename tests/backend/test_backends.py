"""Contract of the back ends, over conf/backend."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf as shrunk_by_sklearn
from sklearn.neighbors import NearestNeighbors
from support import world

from mimii_pl.backend._backend import pool
from mimii_pl.backend._covariance import ledoit_wolf
from mimii_pl.backend.committee import Committee
from mimii_pl.backend.knn import KNN
from mimii_pl.backend.pyod import PyOD
from mimii_pl.core.config import CONF, build
from mimii_pl.core.errors import InputError

NAMES = sorted(file.stem for file in CONF.joinpath("backend").glob("[!_]*.yaml") if file.stem != "none")
LONG = ("isolation_forest", "pyod")  # a second of every test


# What a back end needs to see the hole in a ring; those that model one heap cannot, and get outliers outside it.
FOR_A_RING = {
    "knn": ["metric=euclidean"],
    "lof": [],
    "kmeans": [],
    "gmm": ["components=12"],
    "one_class_svm": ["gamma=5"],
}


def make(name, *options):
    return build(world.composed(f"backend={name}", *(f"backend.{option}" for option in options)).backend)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in NAMES])
def backend(request):
    return make(request.param)


def ring(n, seed=0):
    """Normal embeddings on a noisy ring, with the number of their machine ID."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    points = np.stack([np.cos(angle), np.sin(angle), np.full(n, 2.0)], axis=1) + rng.normal(0, 0.02, (n, 3))
    return points.astype(np.float32), rng.integers(0, 2, n)


def heap(n, centre, seed=1):
    return (np.array(centre) + np.random.default_rng(seed).normal(0, 0.02, (n, 3))).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_outliers_score_higher(name):
    backend = make(name, *FOR_A_RING.get(name, []))
    backend.fit(*ring(400))
    normal = backend.score(*ring(80, seed=1))
    outliers = heap(20, [0, 0, 2] if name in FOR_A_RING else [2, 2, -2])
    assert np.isfinite(normal).all()
    assert backend.score(outliers, np.zeros(20, int)).min() > np.quantile(normal, 0.95)


def test_order_of_clips_does_not_matter(backend):
    backend.fit(*ring(100))
    query, ids = np.concatenate([ring(20, seed=1)[0], heap(25, [0, 0, 2])]), np.arange(45) % 2
    order = np.random.default_rng(0).permutation(45)
    np.testing.assert_allclose(backend.score(query, ids)[order], backend.score(query[order], ids[order]), atol=1e-6)


def test_state_loads_back_to_equal_scores(backend, tmp_path):
    from mimii_pl.core.files import read_arrays, write_arrays

    train, ids = ring(100)
    backend.fit(train, ids)
    write_arrays(tmp_path / "backend.npz", backend.state_dict())
    again = type(backend)()
    again.load_state_dict(read_arrays(tmp_path / "backend.npz"))
    np.testing.assert_array_equal(again.score(train, ids), backend.score(train, ids))


def test_constant_embeddings_give_finite_scores(backend):
    backend.fit(np.zeros((10, 3), np.float32), np.zeros(10, int))
    assert np.isfinite(backend.score(np.array([[0, 0, 0], [1, 0, 0]], np.float32), np.zeros(2, int))).all()


@pytest.mark.parametrize("clips", [1, 2])
def test_so_few_clips_are_enough_or_explained(backend, clips):
    few = np.eye(3, dtype=np.float32)[:clips]
    if clips < backend.least_clips:
        with pytest.raises(
            InputError, match=rf"needs at least {backend.least_clips} embeddings.*only {clips}.*per_id=false"
        ):
            backend.fit(few, np.zeros(clips, int))
        return
    backend.fit(few, np.zeros(clips, int))
    assert np.isfinite(backend.score(np.ones((4, 3), np.float32), np.zeros(4, int))).all()


def test_a_clip_is_judged_against_its_own_machine_and_a_stranger_against_all(backend):
    two = np.concatenate([heap(50, [1, 0, 0]), heap(50, [0, 1, 0])])
    backend.fit(two, np.repeat([0, 1], 50))
    own, other, stranger = (backend.score(heap(10, [0, 1, 0], seed=2), np.full(10, id_)) for id_ in (1, 0, -1))
    # PyOD's default, ECOD, sees the tails of each dimension alone, and most members of a committee compare with all
    # IDs: they find the other heap only on the average
    assert np.median(other) > (np.median(own) if isinstance(backend, PyOD | Committee) else own.max())
    assert np.median(stranger) < np.median(other)


def test_windows_are_pooled_or_judged_one_by_one():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 7, 3)))
    expected = {
        "mean": x.mean(1),
        "max": x.max(1).values,
        "none": x,
        "gem": (x.abs() ** 3).mean(1) ** (1 / 3),
        "mean_std": torch.cat([x.mean(1), x.std(1, correction=0)], 1),
    }
    for how, value in expected.items():
        torch.testing.assert_close(pool(x, how), value)
    knn = KNN(metric="euclidean", pool="none")
    knn.fit(np.zeros((1, 2, 1)), np.zeros(1))
    assert knn.score(np.array([[[1.0], [3.0]]]), np.zeros(1)).tolist() == pytest.approx([2.0])


def test_a_part_is_fitted_on_so_many_embeddings_at_most():
    knn = KNN(limit=5)
    knn.fit(ring(50)[0], np.zeros(50))
    assert len(knn.parts[0]["bank"]) == 5


def test_a_stored_estimator_of_a_strange_type_is_refused():
    import skops.io

    lof = make("lof")
    lof.fit(*ring(30))
    lof.parts[0]["skops"] = np.frombuffer(skops.io.dumps(InputError("x")), np.uint8)
    lof.load_state_dict(lof.state_dict())
    with pytest.raises(InputError, match=r"names mimii_pl\.core\.errors\.InputError: not loaded"):
        lof.score(ring(3)[0], np.zeros(3, int))


@pytest.mark.slow
def test_pyod_takes_any_detector_and_names_what_it_has_not():
    hbos = build(world.composed("backend=pyod", "backend.detector=hbos", "+backend.options.n_bins=5").backend)
    hbos.fit(*ring(100))
    assert np.isfinite(hbos.score(*ring(10, seed=1))).all()
    with pytest.raises(InputError, match=r"backend.detector=nothing: no such module"):
        make("pyod", "detector=nothing").fit(*ring(10))


# --- second implementations ------------------------------------------------------------------------------------------
BANK, QUERY = (np.random.default_rng(seed).normal(size=(60, 4)).astype(np.float32) for seed in (0, 1))
ONE = np.zeros(60, int)


def distances(x, y):
    return np.sqrt(((x[:, None].astype(float) - y[None]) ** 2).sum(axis=2))


def fitted(name, *options):
    backend = make(name, "per_id=false", *options)
    backend.fit(BANK, ONE)
    return backend


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4])
def test_knn_equals_scikit_learn(metric, k):
    expected = NearestNeighbors(n_neighbors=k, metric=metric).fit(BANK).kneighbors(QUERY)[0].mean(axis=1)
    np.testing.assert_allclose(fitted("knn", f"k={k}", f"metric={metric}").score(QUERY, ONE), expected, atol=1e-5)


@pytest.mark.parametrize("density", ["ratio", "difference"])
def test_local_density_by_its_formula(density):
    spread = np.sort(distances(BANK, BANK), axis=1)[:, 1:4].mean(axis=1)
    away = distances(QUERY, BANK)
    expected = (away / spread if density == "ratio" else away - spread).min(axis=1)
    knn = fitted("knn", "metric=euclidean", f"density={density}", "density_k=3")
    np.testing.assert_allclose(knn.score(QUERY, ONE), expected, atol=1e-5)


def test_knn_in_chunks_is_the_same(monkeypatch):
    whole = fitted("knn").score(QUERY, ONE)
    monkeypatch.setattr("mimii_pl.backend.knn.DISTANCES", 7 * len(BANK))
    np.testing.assert_allclose(fitted("knn").score(QUERY, ONE), whole, atol=1e-6)


def test_lof_by_its_formula():
    def reach(x, bank, skip):
        order = np.argsort(distances(x, bank), axis=1, kind="stable")[:, skip : skip + 5]
        return order, np.take_along_axis(distances(x, bank), order, axis=1)

    own, own_distance = reach(BANK, BANK, 1)
    far = own_distance[:, -1]
    density = 1 / np.maximum(own_distance, far[own]).mean(axis=1)
    near, near_distance = reach(QUERY, BANK, 0)
    expected = density[near].mean(axis=1) * np.maximum(near_distance, far[near]).mean(axis=1)
    np.testing.assert_allclose(fitted("lof", "scale=false").score(QUERY, ONE), expected, rtol=1e-4)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_mahalanobis_by_its_formula(shrinkage):
    covariance = np.cov(BANK.T.astype(float), bias=True)
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 4 * np.eye(4)
    away = QUERY - BANK.mean(axis=0)
    expected = (away @ np.linalg.inv(covariance) * away).sum(axis=1)
    np.testing.assert_allclose(fitted("mahalanobis", f"shrinkage={shrinkage}").score(QUERY, ONE), expected, rtol=1e-4)


@pytest.mark.parametrize(("clips", "values"), [(2, 4), (20, 1), (20, 90), (60, 8)])
def test_the_shrinkage_is_that_of_scikit_learn(clips, values):
    rng = np.random.default_rng(clips + values)
    x = rng.normal(size=(clips, values)) @ rng.normal(size=(values, values)) + 5
    for own, theirs in zip(ledoit_wolf(x), shrunk_by_sklearn(x), strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-9, atol=1e-12)
    assert ledoit_wolf(np.ones((5, 3)))[1] == 0


def test_one_gaussian_by_its_formula():
    expected = -multivariate_normal(BANK.mean(axis=0), np.cov(BANK.T, bias=True) + 1e-3 * np.eye(4)).logpdf(QUERY)
    gmm = fitted("gmm", "components=1", "covariance=full", "scale=false")
    np.testing.assert_allclose(gmm.score(QUERY, ONE), expected, rtol=1e-4)


def test_one_class_svm_by_its_formula():
    svm = fitted("one_class_svm", "gamma=0.5", "scale=false")
    machine = svm._estimator(svm.parts[-1])
    kernel = np.exp(-0.5 * distances(QUERY, machine.support_vectors_) ** 2)
    np.testing.assert_allclose(svm.score(QUERY, ONE), -kernel @ machine.dual_coef_[0], rtol=1e-5)


def test_kmeans_by_its_formula():
    kmeans = fitted("kmeans", "clusters=5")
    centres = kmeans.parts[-1]["centres"]
    cosine = [[q @ c / np.linalg.norm(q) / np.linalg.norm(c) for c in centres] for q in QUERY.astype(float)]
    np.testing.assert_allclose(kmeans.score(QUERY, ONE), 1 - np.max(cosine, axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("machine", "published"),
    [
        ("fan", [0.910, 0.981, 0.940, 1.000]),
        ("pump", [0.968, 0.912, 0.575, 0.928]),
        ("slider", [0.995, 0.854, 0.904, 0.703]),
        ("valve", [0.890, 0.714, 0.752, 0.490]),
    ],
)
def test_nearest_neighbour_on_published_features_of_mimii(shared, machine, published):
    from mimii_pl.scoring.metrics import auc

    with np.load(shared / "reference" / "mimii_egemaps" / f"{machine}.npz", allow_pickle=False) as file:
        data = dict(file)
    found = []
    for id_ in np.unique(data["id"]):
        own = data["id"] == id_
        x, abnormal, clip = data["X"][own], data["abnormal"][own].astype(bool), data["clip"][own]
        normal = np.flatnonzero(~abnormal)[np.argsort(clip[~abnormal])]
        test, train = np.r_[normal[: abnormal.sum()], np.flatnonzero(abnormal)], normal[abnormal.sum() :]
        mean, std = x[train].mean(axis=0), x[train].std(axis=0) + 1e-9
        knn = KNN(metric="euclidean")
        knn.fit((x[train] - mean) / std, np.zeros(len(train)))
        found.append(auc(abnormal[test], knn.score((x[test] - mean) / std, np.zeros(len(test)))))
    np.testing.assert_allclose(found, published, atol=0.0051)
