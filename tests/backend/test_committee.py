"""Cross-fitting, standardization and the committee of back ends."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support import world

from mimii_pl.backend._backend import assign_folds, cross_scores, pool
from mimii_pl.backend.committee import Committee, default_members
from mimii_pl.backend.gmm import GMM
from mimii_pl.backend.knn import KNN
from mimii_pl.backend.mahalanobis import Mahalanobis
from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError

VIEWS = {"wide": slice(0, 4), "narrow": slice(4, 6)}


def clips(n=60, seed=0, ids=2):
    rng = np.random.default_rng(seed)
    id_ = np.arange(n) % ids
    return (rng.normal(size=(n, 6)) + 3 * id_[:, None]).astype(np.float32), id_


def by_hand(make, train, ids, query, query_ids, folds):
    """Standardize one judge by its cross-validated scores of the same ID, in logarithms."""
    held_out = np.empty(len(ids))
    for fold in np.unique(folds):
        out = folds == fold
        judge = make()
        judge.fit(train[~out], ids[~out])
        held_out[out] = judge.score(train[out], ids[out])
    judge = make()
    judge.fit(train, ids)
    scores = judge.score(query, query_ids)
    result = np.empty(len(query))
    for id_ in np.unique(query_ids):
        own, normal = query_ids == id_, np.log(held_out[ids == id_])
        result[own] = (np.log(scores[own]) - np.median(normal)) / normal.std()
    return result


def test_the_score_is_the_mean_of_standardized_judges():
    (train, ids), (query, query_ids) = clips(), clips(20, seed=1)
    makers = {
        "near": lambda: KNN(metric="euclidean", view="wide"),
        "far": lambda: Mahalanobis(per_id=False, view="narrow"),
    }
    committee = Committee(members={name: make() for name, make in makers.items()})
    committee.prepare(VIEWS, torch.device("cpu"))
    committee.fit(train, ids)

    def viewed(make):
        judge = make()
        judge.prepare(VIEWS, torch.device("cpu"))
        return judge

    folds = assign_folds(ids)
    expected = [by_hand(lambda m=m: viewed(m), train, ids, query, query_ids, folds) for m in makers.values()]
    np.testing.assert_allclose(committee.score(query, query_ids), np.mean(expected, axis=0), rtol=1e-5)
    assert committee.judges == ["near, own ID", "far, all IDs"]
    np.testing.assert_allclose(
        committee.standardized(committee.judge(query, query_ids), query_ids), expected, rtol=1e-5, atol=1e-8
    )


def test_both_is_the_mean_of_own_and_all_ids():
    (train, ids), (query, query_ids) = clips(), clips(20, seed=1)
    both = KNN(metric="euclidean", per_id="both")
    both.fit(train, ids)
    pair = Committee(members={name: KNN(metric="euclidean", per_id=own) for name, own in (("a", True), ("b", False))})
    pair.fit(train, ids)
    np.testing.assert_allclose(both.score(query, query_ids), pair.score(query, query_ids), rtol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "mahalanobis"])
def test_the_fewest_clips_for_both_are_one_more_than_for_one(metric):
    both = KNN(metric=metric, per_id="both")
    train, ids = clips(both.least_clips, ids=1)
    with pytest.raises(InputError, match=rf"needs at least {both.least_clips} embeddings"):
        both.fit(train[1:], ids[1:])
    both.fit(train, ids)
    assert np.isfinite(both.score(train, ids)).all()


def test_scores_that_may_be_negative_are_standardized_as_they_are():
    train, ids = clips(ids=1)
    committee = Committee(members={"likelihood": GMM(components=1, per_id=False)})
    assert not committee.positives[0]
    committee.fit(train, ids)
    alone = GMM(components=1, per_id=False)
    alone.fit(train, ids)
    query = clips(30, seed=2)[0]
    ids = np.zeros(30, int)
    assert np.corrcoef(committee.score(query, ids), alone.score(query, ids))[0, 1] == pytest.approx(1)


def test_every_clip_is_scored_by_what_did_not_see_it():
    train, ids = clips(23)
    knn = KNN(metric="euclidean", per_id=False)
    folds = assign_folds(ids)
    copies = knn.cross_fit(train, ids, folds)
    assert (knn.score(train, ids) == 0).all()  # each finds itself
    held_out = cross_scores(copies, train, ids, folds)
    away = np.linalg.norm(train[:, None] - train[None], axis=2)
    away[folds[:, None] == folds[None]] = np.inf
    np.testing.assert_allclose(held_out, away.min(axis=1), rtol=1e-5)


def test_folds_keep_recordings_together_and_are_even():
    ids = np.repeat([0, 1, 2], [20, 20, 2])
    recordings = [f"{row // 2}" for row in range(42)]
    folds = assign_folds(ids, recordings)
    assert (folds.reshape(-1, 2) == folds[::2, None]).all()
    assert np.ptp(np.bincount(folds[:20])) <= 2
    assert folds.max() == 4
    assert assign_folds(np.zeros(3, int)).tolist() != assign_folds(np.zeros(3, int), ["a", "a", "b"]).tolist()
    assert len(set(assign_folds(np.zeros(3, int)))) == 3


def test_the_yaml_has_the_members_of_the_class():
    composed = build(world.composed("backend=committee").backend)
    expected = default_members()
    assert list(composed.members) == list(expected)
    for name, member in composed.members.items():
        assert type(member) is type(expected[name])
        assert vars(member) == vars(expected[name])


def test_members_are_added_and_left_out_on_the_command_line():
    cfg = world.composed("backend=committee", "+backend@backend.members.mine=lof", "backend.members.rhythm=null")
    committee = build(cfg.backend)
    assert list(committee.members) == ["shape", "amplitude_shape", "bands", "amplitude", "mine"]
    assert cfg.choices.backend == "committee"
    assert OmegaConf.select(cfg, "backend.members.mine.k") == 5


def test_a_detector_without_views_is_judged_as_a_whole_and_no_member_counts_twice():
    committee = Committee()
    committee.prepare({}, torch.device("cpu"))
    assert list(committee.members) == ["shape", "bands", "amplitude", "rhythm"]  # amplitude_shape is within shape
    train, ids = clips()
    committee.fit(train, ids)
    assert np.isfinite(committee.score(train, ids)).all()


def test_mistakes_are_named():
    with pytest.raises(InputError, match=r"backend\.view=loud: .*no such view\. It has wide, narrow"):
        KNN(view="loud").prepare(VIEWS, torch.device("cpu"))
    with pytest.raises(InputError, match=r"backend\.members: a committee needs at least one member"):
        Committee(members={"shape": None})
    with pytest.raises(InputError, match=r"backend\.members\.a: a committee cannot be a member"):
        Committee(members={"a": Committee()})
    with pytest.raises(InputError, match=r"backend\.members\.a\.b: should be a word"):
        Committee(members={"a.b": KNN()})
    with pytest.raises(InputError, match=r"backend\.domains=min needs clips of source and target domain"):
        KNN(domains="min").fit(*clips())


# --- options of the nearest neighbour, by their formulas -------------------------------------------------------------
def bank_and_query(n=80, d=8):
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(30, d)).astype(np.float32), np.zeros(n, int)


def apart(x, y):
    return np.sqrt(((x[:, None].astype(float) - y[None]) ** 2).sum(axis=2))


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def scored(bank, query, **options):
    knn = KNN(per_id=False, **options)
    knn.fit(bank, np.zeros(len(bank), int))
    return knn.score(query, np.zeros(len(query), int))


def test_chord_is_the_distance_of_unit_vectors():
    bank, query, _ = bank_and_query()
    np.testing.assert_allclose(scored(bank, query, metric="chord"), apart(unit(query), unit(bank)).min(1), rtol=1e-3)


def test_mahalanobis_is_euclidean_after_whitening():
    from scipy.spatial.distance import cdist
    from sklearn.covariance import LedoitWolf

    bank, query, _ = bank_and_query()
    precision = LedoitWolf().fit(bank.astype(float)).get_precision()
    expected = cdist(query, bank, "mahalanobis", VI=precision).min(axis=1)
    np.testing.assert_allclose(scored(bank, query, metric="mahalanobis"), expected, rtol=1e-4)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_each_band_has_its_own_neighbour(mean):
    bank, query, _ = bank_and_query()
    bands = [apart(query[:, part], bank[:, part]).min(axis=1) for part in (slice(0, 4), slice(4, 8))]
    expected = np.mean(bands, axis=0) if mean == "arithmetic" else np.sqrt(bands[0] * bands[1])
    np.testing.assert_allclose(scored(bank, query, metric="euclidean", bands=2, mean=mean), expected, rtol=1e-4)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_variance_minimization_by_its_formula(mean):
    bank, query, _ = bank_and_query()
    own = apart(bank, bank)
    np.fill_diagonal(own, np.inf)
    b = np.sort(own, axis=1)[:, :4].mean(axis=1)
    nearest, b_nearest = own.min(axis=1), b[own.argmin(axis=1)]
    if mean == "geometric":
        nearest, b_nearest = np.log(nearest), np.log(b_nearest)
    alpha = np.clip(np.cov(nearest, b_nearest)[0, 1] / np.var(b_nearest, ddof=1), 0, 1)
    away = apart(query, bank)
    expected = (away - alpha * b if mean == "arithmetic" else away / b**alpha).min(axis=1)
    found = scored(bank, query, metric="euclidean", density="varmin", mean=mean)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_variance_minimization_of_few_clips_is_the_plain_normalization():
    bank, query, _ = bank_and_query(n=30)
    ratio, few = (scored(bank, query, density=density, mean="geometric") for density in ("ratio", "varmin"))
    np.testing.assert_allclose(few, ratio)


def test_each_domain_is_scaled_by_its_own_distances():
    rng = np.random.default_rng(4)
    source, target = rng.normal(size=(50, 3)), 100 + 10 * rng.normal(size=(8, 3))
    domains = np.repeat(["source", "target"], [50, 8])
    knn = KNN(per_id=False, metric="euclidean", domains="min")
    knn.fit(np.concatenate([source, target]).astype(np.float32), np.zeros(58, int), domains)

    def reach(x):
        away = apart(x, x)
        np.fill_diagonal(away, np.inf)
        return np.median(away.min(axis=1))

    query = np.concatenate([rng.normal(size=(5, 3)), 100 + 10 * rng.normal(size=(5, 3))])
    expected = np.minimum(apart(query, source).min(1) / reach(source), apart(query, target).min(1) / reach(target))
    np.testing.assert_allclose(knn.score(query.astype(np.float32), np.zeros(10, int)), expected, rtol=1e-3)


def test_synthetic_target_clips_lie_between_neighbours():
    source, target = np.zeros((50, 2), np.float32), np.array([[5, 0], [6, 0], [7, 0]], np.float32)
    knn = KNN(per_id=False, metric="euclidean", smote=0.2)
    knn.fit(np.concatenate([source, target]), np.zeros(53, int), np.repeat(["source", "target"], [50, 3]))
    bank = knn.parts[-1]["bank"]
    assert len(bank) == 60
    made = bank[53:]
    assert ((made[:, 0] > 5) & (made[:, 0] < 7) & (made[:, 1] == 0)).all()


def test_relative_deviation_pooling_by_its_formula():
    x = np.random.default_rng(0).normal(size=(3, 7, 4))
    d = np.linalg.norm(x - x.mean(1, keepdims=True), axis=2)
    w = (1 + d / d.max(1, keepdims=True)) ** 5
    expected = (w[..., None] * x).sum(1) / w.sum(1)[:, None]
    np.testing.assert_allclose(pool(torch.from_numpy(x), "rdp", rdp_gamma=5).numpy(), expected)
    same = torch.ones(2, 5, 3)
    torch.testing.assert_close(pool(same, "rdp"), torch.ones(2, 3))
    np.testing.assert_allclose(
        pool(torch.from_numpy(x), "gem", gem_power=2).numpy(), np.sqrt((x**2).mean(1)), rtol=1e-6
    )


def test_what_principal_components_leave_by_scikit_learn():
    from sklearn import decomposition

    bank, query, ids = bank_and_query()
    pca = build(world.composed("backend=pca", "backend.variance=0.6").backend)
    pca.fit(bank, ids)
    reference = decomposition.PCA(n_components=0.6).fit(bank.astype(float))
    residual = query - reference.inverse_transform(reference.transform(query))
    np.testing.assert_allclose(pca.score(query, np.zeros(30, int)), (residual**2).sum(1), rtol=1e-4)


def test_weights_are_those_of_members_and_none_is_the_plain_mean():
    (train, ids), (query, query_ids) = clips(), clips(20, seed=1)

    def fitted(weights):
        members = {"near": KNN(metric="euclidean", per_id="both"), "far": Mahalanobis(per_id=False)}
        committee = Committee(members=members, weights=weights)
        committee.prepare({}, torch.device("cpu"))
        committee.fit(train, ids)
        return committee, committee.standardized(committee.judge(query, query_ids), query_ids)

    plain, each = fitted(None)
    assert plain.score(query, query_ids).tolist() == each.mean(axis=0).tolist()
    weighed, _ = fitted({"far": 3.0})
    np.testing.assert_allclose(weighed.score(query, query_ids), (each[0] + each[1] + 3 * each[2]) / 5)
    assert fitted({"far": 1.0})[0].score(query, query_ids).tolist() == plain.score(query, query_ids).tolist()


@pytest.mark.parametrize("weights", [{"nearer": 1.0}, {"near": 0.0}, {"near": float("nan")}])
def test_weights_are_numbers_above_0_of_members(weights):
    with pytest.raises(InputError, match=r"backend\.weights\..*: a number above 0 for one of near"):
        Committee(members={"near": KNN()}, weights=weights)
