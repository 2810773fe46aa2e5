"""The graph of a scorer computes what the scorer computes, for every back end that has tensors."""

import numpy as np
import pytest
import torch
from support import world

from mimii_pl.backend._backend import ALL_IDS
from mimii_pl.core.config import CONF, build
from mimii_pl.core.errors import InputError
from mimii_pl.deploy.graph import BackEndGraph, ScoringGraph
from mimii_pl.model.dis_spec import magnitudes
from mimii_pl.model.level import Level
from mimii_pl.scoring.scorer import Scorer

OPTIONS = {
    "knn": [
        [],
        ["metric=euclidean", "k=3"],
        ["metric=chord", "density=varmin"],
        ["metric=mahalanobis", "per_id=both"],
        ["metric=mahalanobis", "bands=2"],
        ["density=ratio", "bands=3", "mean=geometric"],
        ["density=difference", "per_id=false"],
        ["density=ratio", "domains=min"],
        ["pool=none"],
    ],
    "mahalanobis": [[], ["per_id=both"], ["shrinkage=0.1", "pool=none"]],
    "pca": [[], ["variance=0.5"]],
    "kmeans": [[], ["clusters=2", "per_id=both"]],
    "gmm": [[], ["covariance=full", "pool=max"], ["covariance=tied"], ["covariance=spherical", "scale=false"]],
    "committee": [[], ["weights={shape: 0.5, rhythm: 3}"]],
}
REFUSED = ["lof", "isolation_forest", "one_class_svm", "pyod"]
CASES = [(name, options) for name, cases in OPTIONS.items() for options in cases]


def made(name, options=()):
    return build(world.composed(f"backend={name}", *(f"backend.{option}" for option in options)).backend)


def embeddings(count, seed=0):
    """Embeddings of windows [N, 3, 12] far from 0, as spectra are, with machine ID numbers."""
    rng = np.random.default_rng(seed)
    ids = np.arange(count) % 3
    centre = 40 + np.eye(3, 12)[ids][:, None]
    return (centre + rng.normal(0, 0.3, (count, 3, 12))).astype(np.float32), ids


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_back_end_scores_the_same_as_tensors(name, options):
    backend = made(name, options)
    backend.prepare({}, torch.device("cpu"))
    (train, ids), (query, query_ids) = embeddings(90), embeddings(30, seed=1)
    if backend.pool != "none":
        train, query = train.mean(axis=1), query.mean(axis=1)
    backend.fit(train, ids, np.where(np.arange(90) % 4, "source", "target"))
    query_ids[::5] = ALL_IDS
    expected = backend.score(query, query_ids)
    graph = BackEndGraph(backend, 3)
    found = graph(torch.from_numpy(query), torch.from_numpy(query_ids)).numpy()
    assert expected.std() > 0
    assert np.abs(found - expected).max() < 2e-4 * expected.std()


@pytest.mark.parametrize("name", REFUSED)
def test_a_back_end_without_tensors_names_those_that_have_them(name):
    backend = made(name)
    backend.fit(embeddings(30)[0].mean(axis=1), embeddings(30)[1])
    with pytest.raises(InputError, match=rf"backend={name} cannot be exported.*mimii rescore backend=knn"):
        BackEndGraph(backend, 3)


def test_every_back_end_is_tried():
    names = {file.stem for file in CONF.joinpath("backend").glob("[!_]*.yaml")}
    assert names - {"none"} == {*OPTIONS, *REFUSED}


def test_a_classifier_is_refused():
    from mimii_pl.features.log_mel import LogMel

    features = LogMel()
    scorer = Scorer(
        Level(features.shape(8000), 1), features, labels=["a/b"], classes=["x", "y"], sample_rate=16000, samples=8000
    )
    with pytest.raises(InputError, match="no anomaly score"):
        ScoringGraph(scorer)


@pytest.mark.parametrize("length", [4410, 8192, 4099])  # of factors alike, a power of 2, a prime
def test_the_transform_of_whole_clips_is_the_same_by_matrices(length, monkeypatch):
    wave = torch.from_numpy(np.random.default_rng(0).normal(size=(2, length))).float()
    expected = magnitudes(wave)
    monkeypatch.setattr("torch.compiler.is_exporting", lambda: True)
    torch.testing.assert_close(magnitudes(wave), expected, rtol=1e-5, atol=1e-6 * float(expected.max()))
