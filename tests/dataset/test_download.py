"""Downloads from a server on this machine that behaves, and misbehaves, like the public archive."""

import os
import re
import shutil
from collections import Counter
from hashlib import md5
from pathlib import Path

import pytest
from support import imitation, server, world
from support.cli import mimii
from support.mlflow_server import behind_password

from mimii_pl.core.addresses import ADDRESSES
from mimii_pl.core.config import build_data, compose
from mimii_pl.core.errors import InputError
from mimii_pl.core.freeze import freeze_config
from mimii_pl.dataset import _zenodo
from mimii_pl.dataset._download import download

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RECORDS = {"dev_data_fan.zip": 3678171, "eval_data_train_fan.zip": 3727685, "eval_data_test_fan.zip": 3841772}
DEV = "/records/3678171/files/dev_data_fan.zip"


@pytest.fixture
def records():
    """A server that holds the imitation of DCASE 2020."""
    with server.serving() as serving:
        for name, files in imitation.dcase2020().items():
            serving.record(RECORDS[name], {name: imitation.zipped(files)})
        yield serving


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Pauses between tries of a thousandth of their length, and small chunks for small archives."""
    import pooch.core

    monkeypatch.setattr(_zenodo, "BACKOFF", 0.001)
    monkeypatch.setattr(_zenodo, "CHUNK_BYTES", 100)
    pause = pooch.core.time.sleep
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: pause(seconds / 1000))


def configured(records, root, *overrides):
    """A run on DCASE 2020 as this server has it: its checksums are asked for, not pinned."""
    cfg = world.configured(
        root,
        "model=dense_ae",
        "dataset=dcase2020",
        f"dataset.mirrors=[{records.url}]",
        "protocol.validation=0",
        *overrides,
    )
    for entries in cfg.dataset.archives.values():
        for entry in entries:
            entry.files.fan = None
    return cfg


def fetched(cfg):
    data = build_data(cfg)
    data.prepare_data()
    return data


def served(records):
    return Counter(path for path, _ in records.asked if path.endswith(".zip"))


def test_a_mirror_behind_a_password(records, tmp_path, caplog, monkeypatch):
    caplog.set_level("DEBUG")
    with behind_password(records.url, "me", "s3cr@t") as host:
        monkeypatch.setenv(ADDRESSES, "{}")
        cfg = configured(records, tmp_path / "d", f"dataset.mirrors=[http://me:s3cr@t@{host}]")
        cfg = freeze_config(cfg, tmp_path / "run")
        fetched(cfg)
        assert len(list((tmp_path / "d" / "dev_data").rglob("*.wav"))) == 18
        assert cfg.dataset.mirrors == [f"http://me:***@{host}"]
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in files if b"s3cr" in path.read_bytes()]
        assert "s3cr" not in "".join(record.getMessage() for record in caplog.records if "mimii" in record.name)
        monkeypatch.setenv(ADDRESSES, "{}")  # as in another process, later
        shutil.rmtree(tmp_path / "d")
        with pytest.raises(InputError, match=r"http://me:\*\*\*@.*: its password is not stored"):
            fetched(cfg)
        wrong = configured(records, tmp_path / "d", f"dataset.mirrors=[http://me:s3cret@{host}]")
        with pytest.raises(InputError, match=r"http://me:\*\*\*@.*401") as error:
            fetched(wrong)
        assert "s3cr" not in str(error.value)


# --- what should happen ----------------------------------------------------------------------------------------------
def test_only_what_the_chosen_machine_needs_is_fetched_and_once(records, tmp_path):
    cfg = configured(records, tmp_path / "d")
    data = fetched(cfg)
    data.setup()
    assert data.labels == ["fan/id_00", "fan/id_02"]
    assert len(data.clips) == 18
    assert served(records) == {DEV: 1}
    assert not list((tmp_path / "d" / "archives").glob("*.zip*partial"))
    assert not (tmp_path / "d" / "archives" / "dev_data_fan.zip").exists()
    asked = len(records.asked)
    fetched(cfg)
    download(_download_config(cfg))
    assert len(records.asked) == asked


def _download_config(cfg, *, verify=False):
    again = compose(["dataset=dcase2020", "machine=fan"], "command/download")
    again.dataset = cfg.dataset
    again.verify = verify
    return again


def test_all_parts_with_their_labels(records, tmp_path):
    cfg = configured(records, tmp_path / "d", "dataset.part=all", "dataset.keep_archives=true")
    records.files["/list/eval_data_list_2020.csv"] = imitation.DCASE2020_LIST.encode()
    digest = md5(imitation.DCASE2020_LIST.encode()).hexdigest()
    address = f"{records.url}/list/eval_data_list_2020.csv"
    cfg.dataset.ground_truth = [{"name": "a.csv", "url": address, "md5": digest}]
    data = fetched(cfg)
    data.setup()
    assert data.labels == ["fan/id_00", "fan/id_01", "fan/id_02"]
    tested = Counter(clip.condition for clip in data.clips if (clip.machine_id, clip.split) == ("id_01", "test"))
    assert tested == {"normal": 2, "anomaly": 2}
    assert {path.name for path in (tmp_path / "d" / "archives").glob("*.zip")} == set(RECORDS)


def test_what_was_placed_by_hand_is_not_fetched(records, tmp_path):
    imitation.unpacked(imitation.dcase2020()["dev_data_fan.zip"], tmp_path / "d")
    assert len(fetched(configured(records, tmp_path / "d")).discover()) == 18
    assert not records.asked


def test_what_was_placed_by_hand_is_that_part_only(records, tmp_path):
    imitation.unpacked(imitation.dcase2020()["dev_data_fan.zip"], tmp_path / "d" / "dev_data")
    fetched(configured(records, tmp_path / "d", "dataset.part=all", "dataset.ground_truth=[]"))
    assert {path.rsplit("/", 1)[-1] for path in served(records)} == {
        "eval_data_train_fan.zip",
        "eval_data_test_fan.zip",
    }


def test_an_archive_placed_by_hand_is_unpacked(records, tmp_path):
    store = tmp_path / "d" / "archives"
    store.mkdir(parents=True)
    (store / "dev_data_fan.zip").write_bytes(records.files[DEV])
    fetched(configured(records, tmp_path / "d", "dataset.keep_archives=true"))
    assert served(records) == {}
    assert (tmp_path / "d" / "dev_data" / "fan" / "train").is_dir()


def test_download_false_never_touches_the_network(records, tmp_path):
    with pytest.raises(InputError, match="no recordings in"):
        fetched(configured(records, tmp_path / "d", "dataset.download=false")).setup()
    assert not records.asked


def test_mimii_goes_to_a_folder_per_snr(tmp_path):
    with server.serving() as records:
        for snr in ("6", "-6"):
            records.record(3384388, {f"{snr}_dB_fan.zip": imitation.zipped(imitation.mimii())})
        for snr in (6, -6):
            options = ("model=dense_ae", "dataset=mimii", f"dataset.snr={snr}", f"dataset.mirrors=[{records.url}]")
            data = fetched(world.configured(tmp_path / "m", *options))
            data.setup()
            assert data.labels == ["fan/id_00", "fan/id_02"]
            assert len(data.clips) == 22
            assert {clip.path.parts[-5] for clip in data.clips} == {f"{snr}_dB_fan"}


def test_verify_names_files_that_are_missing_or_changed(records, tmp_path, capsys):
    cfg = configured(records, tmp_path / "d")
    assert [(s.state, s.files) for s in download(_download_config(cfg))] == [("fetched", 18)]
    assert [(s.state, s.files) for s in download(_download_config(cfg, verify=True))] == [("complete", 18)]
    folder = tmp_path / "d" / "dev_data" / "fan" / "train"
    first, second = sorted(folder.iterdir())[:2]
    first.unlink()
    data = bytearray(second.read_bytes())
    data[-1] ^= 1
    second.write_bytes(data)
    with pytest.raises(InputError, match=r"incomplete: dev_data_fan.zip"):
        download(_download_config(cfg, verify=True))
    shown = capsys.readouterr().out
    assert re.search(rf"{first.name}: missing", shown)
    assert re.search(rf"{second.name}: changed", shown)


# --- what goes wrong -------------------------------------------------------------------------------------------------
def test_a_cut_connection_goes_on_where_it_ended(records, tmp_path):
    records.cut[DEV], records.times[DEV] = 5000, 2
    assert len(fetched(configured(records, tmp_path / "d")).discover()) == 18
    assert [asked for path, asked in records.asked if path == DEV] == [None, "bytes=5000-", "bytes=10000-"]


def test_a_download_that_was_killed_goes_on_in_the_next_process(records, tmp_path):
    store = tmp_path / "d" / "archives"
    store.mkdir(parents=True)
    (store / "dev_data_fan.zip.partial").write_bytes(records.files[DEV][:7777])
    fetched(configured(records, tmp_path / "d"))
    assert [asked for path, asked in records.asked if path == DEV] == ["bytes=7777-"]


def test_a_server_that_cannot_resume_starts_again(records, tmp_path):
    records.cut[DEV], records.times[DEV], records.ranges = 5000, 1, False
    assert len(fetched(configured(records, tmp_path / "d")).discover()) == 18


def test_a_connection_that_never_holds_is_explained_and_what_came_is_kept(records, tmp_path):
    records.cut[DEV], records.times[DEV] = 100, 99
    with pytest.raises(
        InputError, match=r"dev_data_fan.zip cannot be downloaded.*the connection was cut.*By hand: download"
    ):
        fetched(configured(records, tmp_path / "d"))
    assert (tmp_path / "d" / "archives" / "dev_data_fan.zip.partial").stat().st_size == 100 * _zenodo.TRIES


def test_a_wrong_checksum(records, tmp_path):
    cfg = configured(records, tmp_path / "d")
    cfg.dataset.archives.dev[0].files.fan = "649bdfc06263ae7a838963f43b6641e6"  # of the real archive
    with pytest.raises(InputError, match=r"its MD5 is not 649bdfc06263ae7a838963f43b6641e6"):
        fetched(cfg)
    assert not (tmp_path / "d" / "dev_data").exists()
    assert not list((tmp_path / "d" / "archives").glob("*.zip*"))


def test_a_partial_file_of_another_version_is_dropped(records, tmp_path):
    store = tmp_path / "d" / "archives"
    store.mkdir(parents=True)
    (store / "dev_data_fan.zip.partial").write_bytes(b"x" * 10_000_000)
    assert len(fetched(configured(records, tmp_path / "d")).discover()) == 18
    assert [asked for path, asked in records.asked if path == DEV] == ["bytes=10000000-", None]


@pytest.mark.parametrize(("statuses", "asked"), [([404], 1), ([403], 1)])
def test_no_such_file_is_not_asked_for_again(records, tmp_path, statuses, asked):
    records.status[DEV] = list(statuses)
    with pytest.raises(InputError, match=rf"{statuses[0]} .*Without any download: dataset=synthetic"):
        fetched(configured(records, tmp_path / "d"))
    assert served(records)[DEV] == asked


def test_a_server_in_trouble_is_asked_again(records, tmp_path):
    records.status[DEV] = [500, 503]
    assert len(fetched(configured(records, tmp_path / "d")).discover()) == 18
    assert served(records)[DEV] == 3


def test_a_server_that_stays_in_trouble_is_explained(records, tmp_path):
    records.status[DEV] = [500] * 99
    with pytest.raises(InputError, match="the server has problems"):
        fetched(configured(records, tmp_path / "d"))


def test_the_next_mirror_is_asked(records, tmp_path):
    cfg = configured(records, tmp_path / "d")
    with server.serving() as empty:
        cfg.dataset.mirrors = [empty.url, records.url]
        assert len(fetched(cfg).discover()) == 18
    assert served(records) == {DEV: 1}


@pytest.mark.slow
def test_offline_says_what_to_do(tmp_path):
    with server.serving() as gone:
        url = gone.url
    done = mimii("train", f"dataset.mirrors=[{url}]", "logger=none", cwd=tmp_path)
    assert done.returncode == 1
    message = done.stderr.strip()
    assert len(message.splitlines()) == 1
    for part in ("dev_data_fan.zip", f"{url}{DEV}", "connection refused", str(tmp_path / "data"), "dataset=synthetic"):
        assert part in message


def test_what_the_record_said_is_remembered_for_archives_without_a_pinned_checksum(records, tmp_path):
    cfg = configured(records, tmp_path / "d")
    fetched(cfg)
    shutil.rmtree(tmp_path / "d" / "dev_data")
    (tmp_path / "d" / "archives" / "dev_data_fan.zip.json").unlink()
    records.record(3678171, {"dev_data_fan.zip": imitation.zipped({"fan/train/other.wav": b"another"})})
    with pytest.raises(InputError, match="its MD5 is not"):
        fetched(cfg)


# --- no room ---------------------------------------------------------------------------------------------------------
def test_no_room_is_found_out_before_anything_is_fetched(records, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match=r"no room for 1 archives.*dataset.root=<another disk>"):
        fetched(configured(records, tmp_path / "d"))
    assert served(records) == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full: a device that is always full")
def test_a_disk_that_fills_up_on_the_way(records, tmp_path):
    store = tmp_path / "d" / "archives"
    store.mkdir(parents=True)
    os.symlink("/dev/full", store / "dev_data_fan.zip.partial")
    with pytest.raises(InputError, match="the disk filled up"):
        fetched(configured(records, tmp_path / "d"))
