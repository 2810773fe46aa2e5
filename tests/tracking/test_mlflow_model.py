"""A registered version is a model of MLflow too: it scores as the run, and holds no pickle; we execute none of it."""

import base64
import os
import shutil
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import soundfile
from mlflow.pyfunc import load_model
from mlflow.pyfunc.scoring_server import init
from omegaconf import OmegaConf
from starlette.testclient import TestClient
from support import world

import mimii_pl
from mimii_pl.core.errors import InputError
from mimii_pl.core.run_dir import read_facts, run_fingerprint
from mimii_pl.core.stored_config import read_config
from mimii_pl.run import run
from mimii_pl.sweep.register import register
from mimii_pl.tracking.logger import recorder_of
from mimii_pl.tracking.mlflow_model import MODEL_CODE, own_files, write_model
from mimii_pl.tracking.record import record
from mimii_pl.tracking.registry import local_run

SMALL = ("model=spectrum", "backend=knn", "task.criterion_clips=12", "report=none")
CHAMPION = "models:/fan@champion"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A registered run, its store, and its test clips."""
    folder = tmp_path_factory.mktemp("model")
    root = world.write(folder / "world", train=10, test=2, seconds=1.0)
    uri = f"sqlite:///{folder}/mlflow.db"
    cfg = world.configured(root, *SMALL, "logger=mlflow", f"trainer.logger.tracking_uri={uri}")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        run(cfg, folder / "run")
        register(run=str(folder / "run"))
    return folder / "run", uri, sorted((root / "fan" / "test").glob("*.wav"))


@pytest.fixture
def model(finished, monkeypatch, tmp_path):
    """Loads the champion as MLflow's users do."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, finished[1])
    return lambda **options: load_model(CHAMPION, **options)


def frame_of(paths):
    """Contents of files and the machine IDs in their names."""
    ids = [path.stem[path.stem.index("id_") :][:5] for path in paths]
    return pd.DataFrame({"audio": [path.read_bytes() for path in paths], "machine_id": ids})


def test_the_model_scores_as_the_run(model, finished):
    _, uri, clips = finished
    loaded = model()
    expected = mimii_pl.load(CHAMPION, device="cpu", tracking_uri=uri).decide(clips)
    frame = frame_of(clips)
    found = loaded.predict(frame)
    assert set(found["machine_id"]) == {"fan/id_00", "fan/id_02"}
    assert found["score"].tolist() == expected.score.tolist()
    assert found["higher_than"].tolist() == expected.higher_than.tolist()
    assert found["p_value"].tolist() == expected.p_value.tolist()
    assert found["anomalous"].tolist() == expected.anomalous.tolist()
    assert 0 < sum(found["anomalous"]) < len(clips)
    in_parts = [loaded.predict(part) for _, part in frame.groupby(frame.index // 3)]  # as Spark's functions get theirs
    pd.testing.assert_frame_equal(pd.concat(in_parts, ignore_index=True), found)
    texts = frame.assign(audio=[base64.b64encode(content).decode() for content in frame["audio"]])
    pd.testing.assert_frame_equal(loaded.predict(texts), found)
    by_path = model(model_config={"paths": True}).predict(pd.DataFrame({"path": list(map(str, clips))}))
    pd.testing.assert_frame_equal(by_path, found)


def test_what_cannot_be_scored_is_skipped_and_costs_no_other(model, finished):
    loaded, (content, other) = model(model_config={"paths": True}), (path.read_bytes() for path in finished[2][:2])
    lines = [
        (content, None, "id_00", ""),
        (content[:9000], None, "id_00", "truncated"),
        ("not base64", None, "id_00", "neither bytes nor base64"),
        (b"", None, "id_00", "not readable"),
        (None, None, "id_00", "give audio or path"),
        (content, "a.wav", "id_00", "and not both"),
        (None, "/etc/passwd", "id_00", "not readable"),
        (content, None, "id_09", "was not seen in training"),
        (other, None, "FAN/ID_00", ""),
    ]
    *columns, reasons = zip(*lines, strict=True)
    frame = pd.DataFrame(dict(zip(("audio", "path", "machine_id"), columns, strict=True)))
    found = loaded.predict(frame)
    for skipped, reason in zip(found["skipped"], reasons, strict=True):
        assert reason in skipped
        assert bool(reason) is bool(skipped)
        assert "/tmp" not in skipped
    assert found["score"].isna().tolist() == found["anomalous"].isna().tolist() == [bool(text) for text in reasons]
    alone = loaded.predict(frame.iloc[[0, -1]].reset_index(drop=True))
    assert found["score"].dropna().tolist() == alone["score"].tolist()


def test_the_folder_of_a_content_tells_no_machine_id(model, finished, tmp_path, monkeypatch):
    (tmp_path / "id_02").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "id_02"))
    found = model().predict(frame_of(finished[2][:1]).drop(columns="machine_id"))
    assert found[["machine_id", "skipped"]].to_numpy().tolist() == [["", ""]]  # not needed by this detector


def test_mlflows_server_answers_a_flac_and_opens_no_path(model, finished, tmp_path):
    wave, rate = soundfile.read(finished[2][0], dtype="int16")
    soundfile.write(tmp_path / "clip.flac", wave, rate)
    content = base64.b64encode((tmp_path / "clip.flac").read_bytes()).decode()
    loaded = model()
    client = TestClient(init(loaded))
    records = [{"audio": content, "machine_id": "id_00"}, {"audio": "AAAA", "machine_id": "id_00"}]
    one, damaged = client.post("/invocations", json={"dataframe_records": records}).json()["predictions"]
    assert one["score"] == loaded.predict(frame_of(finished[2][:1]))["score"][0]
    assert (damaged["score"], damaged["anomalous"]) == (None, None)
    assert "not readable" in damaged["skipped"]
    for columns in ({"path": str(tmp_path / "clip.flac")}, {"clip": content}):
        answer = client.post("/invocations", json={"dataframe_records": [columns]})
        assert answer.status_code == 400
        assert ("paths are not opened" if "path" in columns else "need a column audio") in answer.text


def test_the_files_hold_no_pickle_and_no_path_of_this_computer(model, finished, tmp_path):
    run_dir, loaded = finished[0], model()
    place = Path(mlflow.artifacts.download_artifacts(CHAMPION, dst_path=str(tmp_path)))
    ours = {path.name: path for path in place.iterdir() if path.is_file() and path.name not in own_files(run_dir)}
    ours.pop("registered_model_meta", None)  # MLflow writes it when it downloads a version
    assert set(ours) == {
        "MLmodel",
        MODEL_CODE,
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "input_example.json",
        "serving_input_example.json",
    }
    for path in ours.values():
        assert str(Path.home()) not in path.read_text()
        assert "/tmp" not in path.read_text()
    assert run_fingerprint(place) == run_fingerprint(run_dir)
    assert loaded.predict(loaded.input_example)["skipped"].tolist() == [""]


def test_nothing_of_a_version_is_executed(finished, tmp_path, monkeypatch):
    _, uri, clips = finished
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = local_run(CHAMPION, uri)
    (place / MODEL_CODE).write_text("import pathlib; pathlib.Path('executed').write_text('')")
    (place / "MLmodel").write_text("!!python/object/apply:os.system ['touch executed']")
    monkeypatch.chdir(tmp_path)
    assert mimii_pl.load(CHAMPION, device="cpu", tracking_uri=uri).score(clips).shape == (len(clips),)
    assert not Path("executed").exists()


def test_a_version_of_before_still_scores_and_registers_anew(finished, tmp_path, monkeypatch):
    run_dir, uri, clips = finished
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    client, run_id = mlflow.MlflowClient(uri), read_facts(run_dir)["mlflow_run_id"]
    content = run_fingerprint(run_dir)[:16]
    for name in own_files(run_dir):
        folder = str(Path("old/registered", content, name).parent)
        client.log_artifact(run_id, str(run_dir / name), folder)
    client.create_registered_model("old")
    source = f"{client.get_run(run_id).info.artifact_uri}/old/registered/{content}"
    client.create_model_version("old", source, run_id, tags={"content": content})
    expected = mimii_pl.load(run_dir, device="cpu").score(clips)
    found = mimii_pl.load("models:/old/1", device="cpu", tracking_uri=uri).score(clips)
    np.testing.assert_array_equal(found, expected)
    assert register(run=str(run_dir))[0].number == "1"


@pytest.fixture
def unregistered(finished, tmp_path):
    """A copy of the run that is recorded elsewhere, with its model; the database there."""
    shutil.copytree(finished[0], tmp_path / "run")
    cfg = OmegaConf.load(tmp_path / "run" / "config.yaml")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    cfg.trainer.logger.log_model, cfg.trainer.logger.tracking_uri = True, uri
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml")
    return tmp_path / "run", uri


def test_a_run_that_is_not_registered_is_stored_as_a_model_if_wanted(finished, unregistered):
    run_dir, clips = unregistered[0], finished[2]
    record(run=str(run_dir))
    run_id = read_facts(run_dir)["mlflow_run_id"]
    place = run_dir.parent / "artifacts" / run_id / "artifacts" / "model"
    expected = mimii_pl.load(run_dir, device="cpu").score(clips)
    assert load_model(str(place)).predict(frame_of(clips))["score"].tolist() == expected.tolist()
    shutil.rmtree(place)
    record(run=str(run_dir))  # it is missed, and sent again
    assert (place / "MLmodel").is_file()
    of_registered = mlflow.MlflowClient(finished[1]).list_artifacts(read_facts(finished[0])["mlflow_run_id"])
    assert "model" not in {item.path for item in of_registered}  # not unless it is asked for


def test_a_model_that_cannot_be_made_costs_nothing_else(unregistered, caplog):
    run_dir, uri = unregistered
    (run_dir / "backend.npz").write_bytes(b"damaged")
    recorder_of(read_config(run_dir), run_dir).finish([], {})
    assert "it is recorded without its model" in caplog.text
    client, run_id = mlflow.MlflowClient(uri), read_facts(run_dir)["mlflow_run_id"]
    assert client.get_run(run_id).info.status == "FINISHED"
    names = {item.path for item in client.list_artifacts(run_id)}
    assert "config.yaml" in names
    assert "model" not in names


def test_a_classifier_gives_classes(tmp_path):
    root = world.write(tmp_path / "world", train=6, test=6, seconds=1.0)
    options = ("model=random_forest", "task=classification", "target=machine_id", "protocol.folds=4", "report=none")
    run(world.configured(root, *options), tmp_path / "run")
    (tmp_path / "model").mkdir()
    write_model(tmp_path / "model", tmp_path / "run")
    clips = sorted((root / "fan" / "test").glob("normal*.wav"))
    found = load_model(str(tmp_path / "model")).predict(frame_of(clips))
    expected = mimii_pl.load(tmp_path / "run", device="cpu").classify(clips)
    assert found["taken_for"].tolist() == [f"fan/{id_}" for id_ in frame_of(clips)["machine_id"]]
    np.testing.assert_array_equal(found[["p(fan/id_00)", "p(fan/id_02)"]].to_numpy(float), expected)


def test_a_run_that_is_not_finished_is_no_model(finished, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "run").mkdir()
    shutil.copy(finished[0] / "config.yaml", tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text('{"status": "running"}')
    with pytest.raises(InputError):
        write_model(tmp_path / "model", tmp_path / "run")
    assert not os.listdir(tmp_path / "model")
