"""Contract of the back ends, over conf/backend."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from mimii_pl import _config
from mimii_pl.backend.knn import KNN
from mimii_pl.errors import InputError

NAMES = sorted(file.stem for file in _config.CONF.joinpath("backend").glob("[!_]*.yaml") if file.stem != "none")


@pytest.fixture(params=NAMES)
def backend(request):
    return _config.build(_config.compose([f"backend={request.param}"]).backend)


def ring(n, seed=0):
    """Normal embeddings on a noisy ring per ID; anomalies in its middle."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    points = np.stack([np.cos(angle), np.sin(angle), np.full(n, 2.0)], axis=1) + rng.normal(0, 0.02, (n, 3))
    middle = np.array([[0, 0, 2.0]]) + rng.normal(0, 0.02, (n // 4, 3))
    return points.astype(np.float32), middle.astype(np.float32), rng.integers(0, 2, n)


def test_outliers_inside_a_ring_score_higher(backend):
    train, middle, ids = ring(200)
    backend.fit(train, ids)
    normal = backend.score(*ring(80, seed=1)[::2])
    assert np.isfinite(normal).all()
    assert backend.score(middle, np.zeros(len(middle), int)).min() > np.quantile(normal, 0.95)


def test_order_of_clips_does_not_matter(backend):
    train, middle, ids = ring(100)
    backend.fit(train, ids)
    query, query_ids = np.concatenate([train[:20], middle]), np.arange(45) % 2
    order = np.random.default_rng(0).permutation(45)
    np.testing.assert_allclose(
        backend.score(query, query_ids)[order], backend.score(query[order], query_ids[order]), atol=1e-6
    )


def test_state_loads_back_to_equal_scores(backend, tmp_path):
    from mimii_pl._run_dir import read_arrays, write_arrays

    train, middle, ids = ring(100)
    backend.fit(train, ids)
    write_arrays(tmp_path / "backend.npz", backend.state())
    again = type(backend)()
    again.load_state(read_arrays(tmp_path / "backend.npz"))
    np.testing.assert_array_equal(again.score(middle, ids[:25]), backend.score(middle, ids[:25]))


def test_constant_embeddings_give_finite_scores(backend):
    backend.fit(np.zeros((10, 3), np.float32), np.zeros(10, int))
    assert np.isfinite(backend.score(np.zeros((2, 3), np.float32), np.zeros(2, int))).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4])
def test_knn_equals_scikit_learn(metric, k):
    rng = np.random.default_rng(0)
    bank, query = rng.normal(size=(60, 8)).astype(np.float32), rng.normal(size=(30, 8)).astype(np.float32)
    knn = KNN(k=k, metric=metric, per_id=False)
    knn.fit(bank, np.zeros(60, int))
    expected = NearestNeighbors(n_neighbors=k, metric=metric).fit(bank).kneighbors(query)[0].mean(axis=1)
    np.testing.assert_allclose(knn.score(query, np.zeros(30, int)), expected, atol=1e-5)


def test_knn_judges_a_clip_against_its_own_machine():
    knn = KNN(metric="euclidean")
    knn.fit(np.array([[0.0], [10.0]], np.float32), np.array([0, 1]))
    assert knn.score(np.array([[10.0]] * 3, np.float32), np.array([0, 1, -1])).tolist() == [10, 0, 0]


def test_knn_needs_as_many_clips_as_neighbours():
    with pytest.raises(InputError, match=r"backend.k=3"):
        KNN(k=3).fit(np.zeros((2, 4)), np.zeros(2))


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
    from mimii_pl.metrics import auc

    data = np.load(shared / "reference" / "mimii_egemaps" / f"{machine}.npz", allow_pickle=False)
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
