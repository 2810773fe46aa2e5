"""Every file of conf/model is exported for any number of clips and scores the same, or says why it is not."""

from functools import cache

import numpy as np
import pytest
import torch
from support import world

from mimii_pl.core.config import CONF, build
from mimii_pl.core.errors import InputError
from mimii_pl.deploy.graph import ScoringGraph
from mimii_pl.deploy.onnx_file import open_session, write_onnx
from mimii_pl.deploy.parity import ComparedClips, session_scores
from mimii_pl.scoring.scorer import Scorer

NAMES = sorted(file.stem for file in CONF.joinpath("model").glob("[!_]*.yaml"))
FAST = ("simple_ae",)  # tried with every change
REFUSED = {
    "anogan": "model=anogan",
    "random_forest": "model=random_forest",
    "svm": "model=svm",
    "isolation_forest": "backend=isolation_forest",
    "one_class_svm": "backend=one_class_svm",
    "conv_ae_image": "backend=lof",
    "conv_vae_image": "backend=one_class_svm",
}
INSTEAD = {name: ["backend=knn"] for name, fault in REFUSED.items() if fault.startswith("backend")}
OPTIONS = {
    "flow": ["model.depth=2"],
    "pretrained": ["model.weights=random"],
    "raw_spec": ["dataset.seconds=1"],
    "wave_ae": ["model.channels=[4,8,8,8,8]"],
}


@pytest.fixture(autouse=True, scope="module")
def _one_table_of_functions():
    """Exports share onnxscript's table of functions, which takes a second to make."""
    from torch.onnx._internal.exporter._registration import onnxscript_apis

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxscript_apis, "get_torchlib_ops", cache(onnxscript_apis.get_torchlib_ops))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("exported") / "world", train=8, test=4, seconds=1.1)


def untrained(name, root, *options):
    """The scorer of a detector as it is drawn, with its back end fitted, and six clips that it has not seen."""
    torch.manual_seed(0)
    cfg = world.configured(root, f"model={name}", *OPTIONS.get(name, []), *options)
    data = world.data_of(cfg)
    detector = build(cfg.model, data.in_shape, len(data.labels)).eval()
    data.fit_features()
    scorer = Scorer(detector, data.features, labels=data.labels, sample_rate=world.RATE, samples=data.samples)
    backend = build(cfg.backend)
    if backend is not None:
        scorer.use(backend)
        rows = data.rows("train")
        backend.fit(scorer.embed_waves(data.waves[rows], data.machine_id[rows]), data.machine_id[rows])
    rows = data.rows("test")[2:8]
    return scorer, data.waves[rows], np.array([0, 0, 1, 1, -1, -1])


def cases():
    for name in NAMES:
        for options in [[]] if name not in REFUSED else [INSTEAD[name]] if name in INSTEAD else []:
            marks = () if name in FAST else pytest.mark.slow
            yield pytest.param(name, options, id=name, marks=marks)


@pytest.mark.parametrize(("name", "options"), list(cases()))
def test_it_scores_the_same_alone_and_in_batches(name, options, root, tmp_path):
    scorer, waves, ids = untrained(name, root, *options)
    expected = scorer.score_waves(waves, ids)
    graph = ScoringGraph(scorer)
    write_onnx(graph, scorer.samples, tmp_path / "model.onnx", "conv" if name == "dense_ae" else "stft")
    session = open_session(tmp_path / "model.onnx")
    assert [entry.name for entry in session.get_outputs()] == graph.outputs
    for size in (1, 3):
        found = session_scores(session, ComparedClips(waves, ids, "", expected), size)
        spread = max(expected.std(), 1e-3 * np.abs(expected).max())
        np.testing.assert_allclose(found, expected, atol=1e-3 * spread, rtol=0)
    if "error_map" in graph.outputs:
        batch = scorer.batch(waves[:1], ids[:1])
        feeds = {"wave": batch.wave.numpy(), "machine_id": batch.machine_id.numpy()}
        fed = {entry.name: feeds[entry.name] for entry in session.get_inputs()}
        with torch.inference_mode():
            errors = scorer.detector.error_map(batch).numpy()
        np.testing.assert_allclose(session.run(["error_map"], fed)[0], errors, atol=1e-3 * errors.max(), rtol=0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_exported_names_the_way_out(name, root):
    scorer, _, _ = untrained(name, root)
    with pytest.raises(InputError, match=rf"{REFUSED[name]} cannot be exported: .*(knn|committee)"):
        ScoringGraph(scorer)
