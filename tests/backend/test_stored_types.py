"""The types that stored estimators are made of: exactly those that are loaded back."""

import numpy as np
import pytest
import torch
from support import world

from mimii_pl.backend.pyod import OTHER_CLASSES
from mimii_pl.core.config import CONF, build
from mimii_pl.core.skops_io import ESTIMATOR_TYPES
from mimii_pl.dataset._clip import Batch
from mimii_pl.model.random_forest import RandomForest
from mimii_pl.model.svm import SVM

PYOD = ("abod", "copod", "ecod", "gmm", "hbos", "iforest", "inne", "kde", "knn", "kpca", "lof", "mcd", "ocsvm", "pca")
BACK_ENDS = sorted(path.stem for path in CONF.glob("backend/[!_]*.yaml") if path.stem not in ("none", "pyod"))


def clips(n=80, dimensions=6):
    return np.random.default_rng(0).normal(size=(n, dimensions)).astype(np.float32), np.arange(n) % 2


def stored(backend):
    """The bytes of every estimator of a fitted back end."""
    return [array for key, array in backend.state_dict().items() if key.endswith(".skops")]


def types_of(data):
    import skops.io

    return set(skops.io.get_untrusted_types(data=np.asarray(data, np.uint8).tobytes()))


def classifier(kind, **options):
    model = kind((1, 8, 20), 2, **options)
    spec, label = torch.randn(40, 1, 8, 20), torch.arange(40) % 2
    unknown = torch.full((40,), -1)
    target = torch.nn.functional.one_hot(label, 2).float()
    model.observe(Batch(torch.zeros(40, 1), label, unknown, unknown, spec=spec, target=target))
    model.finish_fit()
    return model


@pytest.mark.slow
def test_our_estimators_are_made_of_the_listed_types_and_of_no_others():
    found = set()
    for name in BACK_ENDS:
        for n, options in ((80, []), (400, []), *([(80, [f"backend.covariance={kind}"]) for kind in ("full", "tied")])):
            if options and name != "gmm":
                continue
            backend = build(world.composed(f"backend={name}", *options).backend)
            backend.fit(*clips(n))
            found |= {kind for data in stored(backend) for kind in types_of(data)}
    for model in (classifier(RandomForest, trees=3), classifier(SVM)):
        found |= types_of(model.stored.numpy())
    assert found == ESTIMATOR_TYPES


@pytest.mark.slow
@pytest.mark.parametrize("detector", PYOD)
def test_a_detector_of_pyod_is_loaded_back_by_its_own_class_alone(detector):
    pytest.importorskip("pyod")
    backend = build(world.composed("backend=pyod", f"backend.detector={detector}").backend)
    embeddings, ids = clips()
    backend.fit(embeddings, ids)
    again = build(world.composed("backend=pyod", f"backend.detector={detector}").backend)
    again.load_state_dict(backend.state_dict())
    np.testing.assert_array_equal(again.score(embeddings, ids), backend.score(embeddings, ids))
    own = {kind for kind in types_of(stored(backend)[0]) if kind.startswith("pyod.")} - set(OTHER_CLASSES)
    assert [kind.rpartition(".")[0] for kind in own] == [f"pyod.models.{detector}"]
