"""The synthetic world: its files, its physics, its calibration."""

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import welch
from scipy.stats import kurtosis
from support import world

from mimii_pl.backend.knn import KNN
from mimii_pl.core.errors import InputError
from mimii_pl.dataset._synthetic_faults import FAULTS, PHASE, kind
from mimii_pl.dataset._synthetic_machines import RATE, SOUNDS, UNITS
from mimii_pl.dataset.synthetic import Order, Synthetic, parts, render, write_machine
from mimii_pl.features.log_mel import LogMel
from mimii_pl.scoring.metrics import auc

SMALL = {"snr_db": 6, "severity": 1, "train_clips": 2, "test_clips": 2, "clip_seconds": 0.5, "world_seed": 0}
HOW = {"snr_db": 6.0, "severity": 1.0, "world_seed": 0}


def test_files_are_dcase_2020_wavs(tmp_path):
    write_machine(tmp_path, "valve", **SMALL)
    files = sorted(tmp_path.rglob("*.wav"))
    assert len(files) == 4 * (2 + 2 + 2)
    assert (tmp_path / "valve" / "test" / "anomaly_id_06_00000001.wav") in files
    info = soundfile.info(str(files[0]))
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 1, "PCM_16", 8000)
    assert [path.name for path in tmp_path.iterdir()] == ["valve"]


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path):
    for name, options in (("a", {}), ("b", {"workers": 1}), ("c", {"world_seed": 1})):
        write_machine(tmp_path / name, "slider", **{**SMALL, **options}, ids=(0,))
    read = {name: [p.read_bytes() for p in sorted((tmp_path / name).rglob("*.wav"))] for name in "abc"}
    assert read["a"] == read["b"]
    assert not set(read["a"]) & set(read["c"])


def test_it_is_a_data_set_written_when_asked_for(tmp_path):
    options = [f"dataset.{key}={value}" for key, value in SMALL.items()]
    cfg = world.configured(tmp_path / "w", "dataset=synthetic", "machine=pump", "model=dense_ae", *options)
    from mimii_pl.core.config import build

    data = build(cfg.dataset, machine="pump", protocol=build(cfg.protocol), features=build(cfg.features))
    data.prepare_data()
    data.setup()
    assert len(data.clips) == 24
    assert len(data.labels) == 4
    data.machine = "bldc"
    with pytest.raises(InputError, match="fan, pump, slider, valve"):
        data.prepare_data()


def test_half_a_world_is_not_taken_for_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("mimii_pl.dataset.synthetic.render", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_machine(tmp_path, "fan", **SMALL)
    assert not list(tmp_path.iterdir())


def test_the_signal_to_noise_ratio_is_what_it_says():
    order = Order("fan", 0, "train", "normal", 3)
    machine, background, level = parts(order, 32000, severity=1.0, world_seed=0)
    for snr in (-6.0, 0.0, 6.0):
        mixed = render(order, 32000, snr_db=snr, severity=1.0, world_seed=0)
        gains, rest = np.linalg.lstsq(np.stack([machine, background], axis=1), mixed, rcond=None)[:2]
        assert 20 * np.log10(gains[0] / gains[1]) == pytest.approx(snr, abs=1e-6)
        assert rest < 1e-12
    assert level == pytest.approx(mixed.std(), rel=0.01)


def test_without_severity_an_anomaly_is_a_healthy_machine():
    for machine, faults in FAULTS.items():
        unit = UNITS[machine][0]
        for fault in faults.values():
            assert fault(unit, 0.0) == unit
        assert any(fault(unit, 0.5) != fault(unit, 1.0) for fault in faults.values())


def test_more_clips_than_the_disk_holds_are_refused_before_any(tmp_path):
    world = Synthetic(
        root=tmp_path / "w", machine="fan", protocol=list, features=None, **{**SMALL, "train_clips": 10**9}
    )
    with pytest.raises(InputError, match="no room for 4,000,0"):
        world.prepare_data()


@pytest.mark.slow
@pytest.mark.parametrize("machine", UNITS)
def test_a_fault_of_phase_changes_the_pulses_and_hardly_the_spectrum(machine):
    for unit in UNITS[machine].values():
        faulty = FAULTS[machine][PHASE[machine]](unit, 1.0)
        healthy, loose = (SOUNDS[machine](u, 8 * RATE, np.random.default_rng(0)) for u in (unit, faulty))
        spectra = [welch(wave / wave.std(), RATE, nperseg=1024)[1] for wave in (healthy, loose)]
        assert np.median(np.abs(10 * np.log10(spectra[0] / spectra[1]))) < 1.2  # dB
        assert kurtosis(loose) < 0.9 * kurtosis(healthy)


def test_every_kind_of_fault_that_the_data_set_names_occurs():
    kinds = {kind(machine, index) for machine in UNITS for index in range(3)}
    assert kinds >= {"contamination", "leakage", "unbalance", "rail_damage", "clogging", "voltage_change", "loose_belt"}


@pytest.mark.parametrize("machine", UNITS)
def test_the_ids_of_a_type_are_different_machines(machine):
    features, timbre = LogMel(n_mels=64), {}
    for id_ in UNITS[machine]:
        waves = np.stack([render(Order(machine, id_, "train", "normal", i), 2 * RATE, **HOW) for i in range(8)])
        spec = features(torch.from_numpy(waves).float())[:, 0]
        peak = spec.amax(2) if machine == "valve" else spec.mean(2)  # a valve is silent most of the time
        timbre[id_] = (peak - peak.mean(1, keepdim=True)).numpy()
    means = np.stack([spec[:4].mean(axis=0) for spec in timbre.values()])
    tests = np.stack([spec[4:] for spec in timbre.values()])  # [4 IDs, 4 clips, 64]
    nearest = np.linalg.norm(tests[:, :, None] - means, axis=3).argmin(axis=2)
    assert np.mean(nearest == np.arange(4)[:, None]) >= 0.9


def test_the_data_set_says_what_is_wrong_with_a_clip(tmp_path):
    data = Synthetic(root=tmp_path, machine="valve", protocol=list, features=LogMel(n_mels=64), **SMALL)
    data.prepare_data()
    (data.root.parent / f".{data.root.name}.fan.killed" / "train").mkdir(parents=True)
    clips = data.discover()
    assert {clip.attributes.get("kind") for clip in clips} == {None, *list(FAULTS["valve"])[:2]}
    assert {clip.machine for clip in clips} == {"valve"}


def test_negative_severity_and_seed_are_refused(tmp_path):
    for wrong in ({"severity": -1.0}, {"world_seed": -1}):
        with pytest.raises(InputError, match="negative"):
            Synthetic(root=tmp_path, machine="fan", protocol=list, features=None, **{**SMALL, **wrong})


@pytest.mark.slow
@pytest.mark.parametrize("machine", UNITS)
def test_nearest_neighbour_finds_it_neither_hopeless_nor_trivial(machine):
    features, found, loudness = LogMel(n_mels=64), [], []
    for id_ in UNITS[machine]:
        clips = {}
        for split, condition, count in (("train", "normal", 60), ("test", "normal", 20), ("test", "anomaly", 20)):
            waves = np.stack([render(Order(machine, id_, split, condition, i), 64000, **HOW) for i in range(count)])
            spec = features(torch.from_numpy(waves).float())[:, 0]
            clips[split, condition] = torch.cat([spec.mean(2), spec.std(2)], 1).numpy(), np.log(waves.std(axis=1))
        train, level = clips["train", "normal"]
        mean, std = train.mean(axis=0), train.std(axis=0)
        knn = KNN(metric="euclidean", per_id=False)
        knn.fit((train - mean) / std, np.zeros(len(train)))
        labels = np.repeat([0, 1], 20)
        test = [clips["test", condition] for condition in ("normal", "anomaly")]
        found.append(auc(labels, knn.score((np.concatenate([x for x, _ in test]) - mean) / std, np.zeros(40))))
        loudness.append(auc(labels, np.abs(np.concatenate([x for _, x in test]) - np.median(level))))
    assert 0.7 < np.mean(found) < 0.95
    assert 0.35 < np.mean(loudness) < 0.65
