"""Every year of DCASE task 2 and its relatives: an imitation in the exact layout is read as what it is."""

import logging
import os
from collections import Counter
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from support import imitation, world

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._dcase_names import attributes_of, parse_path, read_list, read_table

pytestmark = pytest.mark.slow


def configured(name, root, machine, *overrides):
    """The configuration of a data set on disk."""
    return world.configured(root, "model=dense_ae", f"dataset={name}", f"machine={machine}", *overrides)


def placed(name, tmp_path, layout="{part}_data"):
    """The imitation of a data set on disk."""
    archives, labels, _, _ = imitation.DCASE[name]
    for archive, files in archives.items():
        part = "eval" if archive.startswith("eval") else "dev"
        imitation.unpacked(files, tmp_path / name / layout.format(part=part))
    return tmp_path / name, labels


def with_labels(cfg, labels):
    """Put a list of labels where it is looked for, under its checksum."""
    folder = Path(cfg.dataset.root) / "ground_truth"
    folder.mkdir()
    (folder / "list.csv").write_text(labels)
    digest = md5(labels.encode()).hexdigest()
    cfg.dataset.ground_truth = [{"name": "list.csv", "url": "http://nowhere/list.csv", "md5": digest}]
    return cfg


def count(data):
    return Counter((clip.machine_id, clip.split, clip.condition, clip.domain) for clip in data.clips)


@pytest.mark.parametrize(
    ("name", "layout"),
    [(name, "{part}_data") for name in imitation.DCASE]
    + [(name, layout) for name in ("dcase2020", "dcase2021") for layout in ("{part}_data/raw", ".")],
)
def test_the_development_set_is_read_as_what_it_is(name, layout, tmp_path):
    root, _ = placed(name, tmp_path, layout)
    machine = imitation.DCASE[name][2]
    data = world.data_of(configured(name, root, machine, "dataset.download=false", "protocol.validation=0"))
    found = count(data)
    if name == "dcase2020":
        assert {key: n for key, n in found.items() if key[0] != "id_01"} == {
            (one, split, condition, ""): n
            for one in ("id_00", "id_02")
            for split, condition, n in (("train", "normal", 5), ("test", "normal", 2), ("test", "anomaly", 2))
        }
        return
    two = name in ("dcase2021", "dcase2022", "mimii_due", "mimii_dg")
    sections = {"section_00", "section_01"} if two else {"section_00"}
    assert {one for one, *_ in found} - {"section_03"} == sections
    for section in sections:
        assert found[section, "train", "normal", "source"] == 5
        assert found[section, "train", "normal", "target"] == 2
        for domain in ("source", "target"):
            assert found[section, "test", "normal", domain] == found[section, "test", "anomaly", domain] == 2


@pytest.mark.parametrize("name", ["dcase2020", "dcase2021", "dcase2022"])
def test_the_evaluation_set_gets_its_labels_from_the_list(name, tmp_path):
    root, labels = placed(name, tmp_path)
    machine = imitation.DCASE[name][3]
    cfg = with_labels(configured(name, root, machine, "dataset.part=eval", "dataset.download=false"), labels)
    found = count(world.data_of(cfg))
    one = "id_01" if name == "dcase2020" else "section_03"
    assert {key[0] for key in found} == {one}
    tested = {key[2:]: n for key, n in found.items() if key[1] == "test"}
    domains = ("",) if name == "dcase2020" else ("source", "target")
    assert tested == {(condition, domain): 2 for condition in ("normal", "anomaly") for domain in domains}


@pytest.mark.parametrize("name", ["dcase2023", "dcase2024", "dcase2025", "dcase2026", "mimii_due"])
def test_without_a_list_evaluation_clips_have_no_label(name, tmp_path, caplog):
    root, _ = placed(name, tmp_path)
    machine = imitation.DCASE[name][3]
    data = world.data_of(configured(name, root, machine, "dataset.part=eval", "dataset.download=false"))
    assert {clip.condition for clip in data.clips if clip.split == "test"} == {""}
    assert set(data.anomalous[data.rows("test")]) == {-1}
    if data.ground_truth:
        assert "are scored but not evaluated" in caplog.text


def test_both_parts_at_once(tmp_path):
    root, labels = placed("dcase2022", tmp_path)
    cfg = with_labels(configured("dcase2022", root, "bearing", "dataset.part=all", "dataset.download=false"), labels)
    data = world.data_of(cfg)
    assert data.labels == ["bearing/section_00", "bearing/section_01", "bearing/section_03"]
    assert len(data.rows("test")) == 24


def test_attributes_come_from_the_table_else_from_the_name(tmp_path):
    root, labels = placed("dcase2022", tmp_path)
    cfg = with_labels(configured("dcase2022", root, "bearing", "dataset.part=all", "dataset.download=false"), labels)
    told = {clip.path.stem: clip.attributes for clip in world.data_of(cfg).clips}
    assert told["section_00_source_train_normal_0000_vel_21"] == {"vel": "7"}  # attributes_00.csv
    assert told["section_01_source_train_normal_0000_vel_21"] == {"vel": "21"}  # the name
    assert told["section_03_0006"] == {"vel": "6"}  # the list of labels


def test_classes_are_machine_ids_divided_by_domain_and_attributes_when_asked(tmp_path):
    root, _ = placed("dcase2022", tmp_path)
    cfg = configured("dcase2022", root, "bearing", "dataset.download=false", "dataset.classes=attributes")
    data = world.data_of(cfg)
    trained = [data.clips[row] for row in data.rows("train")]
    facts = {(clip.machine_id, clip.domain, clip.attributes["vel"]) for clip in trained}
    assert data.labels == ["bearing/section_00", "bearing/section_01"]
    assert data.classes == [f"bearing/{one} {domain} vel={speed}" for one, domain, speed in sorted(facts)]
    assert len(data.classes) > len(data.labels)
    ids = data.id_of_class().numpy()
    for row, clip in zip(data.rows("train"), trained, strict=True):
        assert data.classes[data.label[row]].startswith(f"{clip.label} {clip.domain} vel=")
        assert ids[data.label[row]] == data.machine_id[row]
    unseen = [row for row in data.rows("test") if data.clips[row].attributes["vel"] == "25"]
    assert unseen
    assert all(data.label[row] == -1 for row in unseen)
    batch = next(iter(data.val_dataloader()))
    target = data.on_after_batch_transfer(batch, 0).target
    assert torch.equal(target, F.one_hot(torch.from_numpy(data.label[batch.clip]), len(data.classes)).float())


def test_all_types_and_both_parts_of_2020_are_41_machine_ids(tmp_path):
    rng = np.random.default_rng(0)
    ids = {"ToyCar": 7, "ToyConveyor": 6} | dict.fromkeys(("fan", "pump", "slider", "valve"), 7)
    for machine, count_ in ids.items():
        for number in range(count_):
            part = "dev" if number < (3 if machine == "ToyConveyor" else 4) else "eval"
            folder = tmp_path / f"{part}_data" / machine / "train"
            folder.mkdir(parents=True, exist_ok=True)
            for clip in range(2):
                soundfile.write(folder / f"normal_id_{number:02d}_{clip:08d}.wav", rng.uniform(-1, 1, 1600), 16000)
    data = world.data_of(configured("dcase2020", tmp_path, "all", "dataset.part=all", "dataset.download=false"))
    assert len(data.classes) == 41
    assert len(set(data.label[data.rows("train")])) == 41


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("section_00_source_train_normal_0000_car_A2_spd_28V_mic_1", {"car": "A2", "spd": "28V", "mic": "1"}),
        ("section_00_source_test_anomaly_0001_ac_0.03_", {"ac": "0.03"}),
        ("section_03_target_test_normal_0098_m-n_Z", {"m-n": "Z"}),
        ("section_00_source_train_normal_0000_noAttribute", {}),
        ("section_00_source_train_normal_0000", {}),
        ("section_00_source_train_normal_0000_", {}),
        ("section_00_source_train_normal_0000_strenght_1_ambient", {"attributes": "strenght_1_ambient"}),
        ("section_00_source_train_normal_0000_strenght_1", {"strength": "1"}),
    ],
)
def test_attributes_of_a_name(tmp_path, name, attributes):
    clip = parse_path(tmp_path / "fan" / "train" / f"{name}.wav", spelling={"strenght": "strength"})
    assert clip.attributes == attributes


def test_supplemental_clips_are_learned_from_only_when_asked(tmp_path):
    root, _ = placed("dcase2025", tmp_path)
    options = ("dataset.part=eval", "dataset.download=false", "protocol.validation=0")
    without = world.data_of(configured("dcase2025", root, "AutoTrash", *options))
    with_ = world.data_of(configured("dcase2025", root, "AutoTrash", *options, "dataset.supplemental=machine"))
    assert len(with_.rows("train")) == len(without.rows("train")) + 3
    dev = configured("dcase2025", root, "ToyCar", "dataset.download=false", "dataset.supplemental=machine")
    assert not any("supplemental" in clip.path.stem for clip in world.data_of(dev).clips)  # noise alone


def test_near_and_far_microphone(tmp_path):
    root, _ = placed("dcase2026", tmp_path)
    for channel in (0, 1):
        cfg = configured("dcase2026", root, "gearboxEmu", "dataset.download=false", f"dataset.channel={channel}")
        data = world.data_of(cfg)
        row = data.rows("test")[0]
        samples = soundfile.read(data.clips[row].path, dtype="int16")[0][:, channel]
        np.testing.assert_array_equal(data.waves[row], samples)


def test_a_list_that_does_not_fit_the_clips_is_named(tmp_path, caplog):
    root, labels = placed("dcase2020", tmp_path)
    fewer = "".join(labels.splitlines(keepends=True)[:-1]) + "id_01_00000077.wav,normal_id_01_00000001.wav,0\n"
    cfg = with_labels(configured("dcase2020", root, "fan", "dataset.part=eval", "dataset.download=false"), fewer)
    with caplog.at_level(logging.WARNING):
        world.data_of(cfg)
    assert "1 clips are not in the list, 1 listed clips are missing" in caplog.text


def test_another_list_than_the_checked_one_is_refused(tmp_path):
    root, labels = placed("dcase2022", tmp_path)
    cfg = with_labels(configured("dcase2022", root, "bearing", "dataset.part=eval", "dataset.download=false"), labels)
    cfg.dataset.ground_truth[0].md5 = "f598f7578942f60c71b699af19309d11"
    with pytest.raises(InputError, match=r"not the label list .*some published lists are wrong"):
        world.data_of(cfg)
    cfg.dataset.ground_truth[0].md5 = None
    assert len(world.data_of(cfg).clips) == 15


def test_a_later_list_overrules_an_earlier_one(tmp_path):
    root, labels = placed("dcase2022", tmp_path)
    cfg = with_labels(configured("dcase2022", root, "bearing", "dataset.part=eval", "dataset.download=false"), labels)
    for tells in ("condition", "domain"):
        (root / "ground_truth" / tells).write_text("".join(f"section_03_{n:04d}.wav,1\n" for n in range(7)))
        entry = {"name": tells, "url": "http://nowhere", "md5": None, "machine": "bearing", "tells": tells}
        cfg.dataset.ground_truth.append(entry)
    tested = {clip.path.stem: clip for clip in world.data_of(cfg).clips if clip.split == "test"}
    assert {(tested[f"section_03_{n:04d}"].condition, tested[f"section_03_{n:04d}"].domain) for n in range(7)} == {
        ("anomaly", "target")
    }
    assert tested["section_03_0000"].attributes == {}
    last = tested["section_03_0007"]
    assert (last.condition, last.domain, last.attributes) == ("anomaly", "target", {"vel": "7"})
    (root / "ground_truth" / "domain").write_text("section_03_0000.wav,source\n")
    with pytest.raises(InputError, match="expected rows of a file name and 0 or 1"):
        world.data_of(cfg)


def test_a_line_that_is_no_label(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("fan\nsection_03_0000.wav,who knows\n")
    with pytest.raises(InputError, match=r"line 2: .*who knows"):
        read_list(path)


def test_a_section_without_normal_clips_is_named(tmp_path, caplog):
    root, _ = placed("dcase2022", tmp_path)
    for path in (root / "dev_data" / "bearing" / "train").glob("section_01_*"):
        path.unlink()
    data = world.data_of(configured("dcase2022", root, "bearing", "dataset.download=false"))
    assert "bearing/section_01 has no normal clip to train on: its 8 test clips" in caplog.text
    assert data.labels == ["bearing/section_00"]
    assert set(data.machine_id[data.rows("test")]) == {0, -1}


def test_one_recording_in_two_places_is_refused(tmp_path):
    root, _ = placed("dcase2022", tmp_path)
    placed("dcase2022", tmp_path, ".")
    with pytest.raises(InputError, match="the same recording is in two folders"):
        world.data_of(configured("dcase2022", root, "bearing", "dataset.download=false"))


def test_a_layout_of_another_kind_is_explained(tmp_path):
    (tmp_path / "root" / "fan" / "train").mkdir(parents=True)
    (tmp_path / "root" / "fan" / "train" / "monday.wav").write_bytes(imitation.wav("x"))
    with pytest.raises(InputError, match=r"1 files there have other names, for example monday.wav: expected <machine>"):
        world.data_of(configured("dcase2023", tmp_path / "root", "fan", "dataset.download=false"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"fan\nid_01_00000000.wav,normal_id_01_00000000.wav\nid_01," + b"n" * 131_073,
            "line 3: not a csv: field larger",
        ),
        (b"fan\nid_01_00000000.wav,normal_id\r_01.wav\n", "line 2: not a csv: a carriage return"),
        (b"fan\nsection_00_0000.wav,section_00_source_test_normal_0000_\xfc_1.wav\n", "line 2: this is not UTF-8"),
        (b"fan\0", "line 1: this is not text"),
    ],
)
def test_lists_and_attributes_that_are_none_are_explained_by_their_line(tmp_path, content, message):
    (tmp_path / "attributes_00.csv").write_bytes(content)
    for read in (read_list, lambda path: read_table(path, "fan", "condition"), lambda path: attributes_of(path.parent)):
        with pytest.raises(InputError, match=message if read is read_list else r"attributes_00.csv, line [123]: "):
            read(tmp_path / "attributes_00.csv")


def test_a_list_in_utf16_is_read(tmp_path):
    text = "fan\r\nid_01_00000000.wav,anomaly_id_01_00000000.wav\r\n"
    (tmp_path / "list.csv").write_bytes(text.encode("utf-16"))
    assert read_list(tmp_path / "list.csv")["fan"]["id_01_00000000"]["condition"] == "anomaly"


@pytest.mark.parametrize("name", ["dcase2020", "mimii"])
def test_a_folder_that_may_not_be_entered_is_named(name, tmp_path, monkeypatch, caplog):
    files = imitation.mimii() if name == "mimii" else imitation.dcase2020()["dev_data_fan.zip"]
    root, scan = imitation.unpacked(files, tmp_path / "data"), os.scandir
    for shut in (root / "pump", root / "fan" / "id_04" / "normal", root / "fan" / "supplemental"):
        shut.mkdir(parents=True)

    def scandir(path):  # whoever runs the tests may enter any folder
        if Path(path).name in ("pump", "supplemental") or Path(path).parent.name == "id_04":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("mimii_pl.dataset._files.os.scandir", scandir)
    overrides = ("dataset.download=false", *(["protocol=mimii"] if name == "mimii" else []))
    assert world.data_of(configured(name, root, "fan", *overrides)).clips
    assert f"skipped {root / 'pump'}: Permission denied" in caplog.text
    inner = root / "fan" / ("id_04/normal" if name == "mimii" else "supplemental")
    assert f"skipped {inner}: Permission denied" in caplog.text
    with pytest.raises(InputError, match=r"Permission denied .set dataset.strict=false"):
        world.data_of(configured(name, root, "fan", "dataset.strict=true", *overrides))
