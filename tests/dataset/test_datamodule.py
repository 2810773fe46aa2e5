"""From the cache to what a detector sees."""

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from pytorch_lightning.utilities import rank_zero_only
from support import world

from mimii_pl.core.errors import InputError
from mimii_pl.core.settings import quiet_lightning
from mimii_pl.dataset import Clip, MachineSounds
from mimii_pl.dataset._clip import Crop
from mimii_pl.dataset._sampler import TrainSampler
from mimii_pl.features.log_mel import LogMel


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return world.write(tmp_path_factory.mktemp("data") / "world", train=8, test=3)


@pytest.mark.parametrize("normalize", ["none", "clip", "train"])
@pytest.mark.parametrize("features", ["log_mel", "complex_stft"])
def test_a_crop_is_a_slice_of_the_whole_clip(root, features, normalize):
    data = world.data_of(
        world.configured(root, "model=dense_ae", f"features={features}", f"features.normalize={normalize}")
    )
    data.crop = Crop(10)
    data.fit_features()
    n = data.in_shape[2]
    for frame in (0, 1, 7, n - 11, n - 10):
        items = np.array([[row, frame] for row in data.rows("train")[:4]])
        cropped = data.on_after_batch_transfer(data.train_dataloader().dataset[items], 0)
        items[:, 1] = -1
        whole = data.on_after_batch_transfer(data.train_dataloader().dataset[items], 0)
        assert cropped.wave.shape[1] < whole.wave.shape[1]
        torch.testing.assert_close(cropped.spec, whole.spec[..., frame : frame + 10], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options", [[], ["features.normalize=clip"], ["features.normalize=train"], ["features.n_fft=256"]]
)
@pytest.mark.parametrize("crop", [None, Crop(12, tile=True, overlap=4), Crop(9, tile=True, overlap=2, within=(5, 40))])
def test_kept_representations_are_those_of_the_waveforms(root, options, crop):
    data = world.data_of(world.configured(root, "model=dense_ae", *options))
    data.crop, data.steps_per_batch = crop, 4
    data.fit_features()
    plain = list(data.train_dataloader())
    data.keep_specs()
    kept = list(data.train_dataloader())
    assert len(kept) == len(plain) > 0
    for one, other in zip(kept, plain, strict=True):
        one, other = (data.on_after_batch_transfer(batch, 0) for batch in (one, other))
        assert one.wave.shape == (len(other.wave), 0)
        torch.testing.assert_close(one.spec, other.spec, rtol=1e-4, atol=1e-4)
        for name in ("machine_id", "anomalous", "clip", "frame"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None and b is None) or torch.equal(a, b)


def test_too_many_representations_are_not_kept(root, monkeypatch):
    data = world.data_of(world.configured(root, "model=dense_ae"))
    size = 4 * np.prod(data.in_shape) * len(data.rows("train"))
    for limit, kept in ((size, True), (size - 1, False)):
        monkeypatch.setattr("mimii_pl.dataset._statistics.KEPT_BYTES", limit)
        data.keep_specs()
        assert (data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0).wave.shape[1] == 0) is kept


def test_batches_are_int16_until_they_are_on_the_device(root):
    data = world.data_of(world.configured(root, "model=dense_ae"))
    batch = next(iter(data.val_dataloader()))
    assert batch.wave.dtype == torch.int16
    after = data.on_after_batch_transfer(batch, 0)
    assert after.wave.dtype == after.spec.dtype == torch.float32
    assert after.wave.abs().max() <= 1
    torch.testing.assert_close(after.wave * 32768, batch.wave.float())


def test_training_set_normalisation_is_that_of_the_training_clips(root):
    data = world.data_of(world.configured(root, "model=dense_ae", "features.normalize=train"))
    data.fit_features()
    rows = data.rows("train")
    spec = data.features(torch.from_numpy(data.waves[rows]).float() / 32768)
    torch.testing.assert_close(spec.mean(dim=(0, 3)), torch.zeros(1, 128), atol=1e-3, rtol=0)
    torch.testing.assert_close(spec.std(dim=(0, 3)), torch.ones(1, 128), atol=1e-3, rtol=0)


def test_only_clips_of_the_chosen_machine_are_kept(tmp_path):
    """`discover` may list the clips of every machine."""

    class Everything(MachineSounds):
        def discover(self):
            return [
                Clip(tmp_path / f"{machine}_{n}.wav", machine, "01", condition="normal", split="train")
                for machine in ("lathe", "mill")
                for n in range(2)
            ]

    for clip in Everything.discover(None):
        soundfile.write(clip.path, np.random.default_rng(0).standard_normal(8000) / 10, 16000)
    options = {"root": tmp_path, "protocol": lambda clips: clips, "features": LogMel(), "cache_dir": tmp_path / "cache"}
    with pytest.raises(InputError, match=r"no recordings of machine 'fan' in .*found there: lathe, mill$"):
        Everything(machine="fan", **options).setup()
    for machine, labels in (("mill", ["mill/01"]), ("all", ["lathe/01", "mill/01"])):
        data = Everything(machine=machine, **options)
        data.setup()
        assert data.labels == labels


def test_machine_ids_are_keyed_by_type(tmp_path):
    for machine in ("fan", "pump"):
        world.write(tmp_path / "world", machine=machine, train=4, test=2)
    data = world.data_of(world.configured(tmp_path / "world", "machine=all", "model=dense_ae"))
    assert data.labels == ["fan/id_00", "fan/id_02", "pump/id_00", "pump/id_02"]
    for clip, number in zip(data.clips, data.machine_id, strict=True):
        assert data.labels[number] == clip.label
    assert world.data_of(world.configured(tmp_path / "world", "machine=pump")).labels == data.labels[2:]


def test_a_machine_heard_only_in_the_test_has_no_number(tmp_path):
    root = world.write(tmp_path / "world", train=4, test=2)
    for path in (root / "fan" / "train").glob("*id_02*"):
        path.unlink()
    data = world.data_of(world.configured(root, "model=dense_ae"))
    assert {clip.machine_id: number for clip, number in zip(data.clips, data.machine_id, strict=True)} == {
        "id_00": 0,
        "id_02": -1,
    }


def test_what_is_missing_is_explained(root, tmp_path):
    with pytest.raises(InputError, match=r"machine 'pump' .* found there: fan"):
        world.data_of(world.configured(root, "machine=pump"))
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"expected <machine>/train/normal_id_00.*dataset=synthetic"):
            world.data_of(world.configured(folder))


def test_only_training_has_targets_and_augmentation(root):
    data = world.data_of(world.configured(root, "model=complex_ssl", "augmentation.noise.p=1"))
    batch = next(iter(data.val_dataloader()))
    once, twice = (data.on_after_batch_transfer(batch, 0) for _ in range(2))
    assert once.target is None
    assert torch.equal(once.spec, twice.spec)


def test_files_of_another_name_are_left_out(root, tmp_path, caplog):
    other = world.write(tmp_path / "world", train=4, test=2)
    (other / "fan" / "train" / "readme.wav").write_bytes(b"")
    data = world.data_of(world.configured(other, "model=dense_ae"))
    assert "1 files" in caplog.text
    assert len(data.clips) == 16


@pytest.mark.parametrize("features", ["complex_stft", "stft", "log_mel"])
def test_every_crop_without_normalisation_is_a_slice_to_rounding(root, open_data, features):
    data = open_data(root, f"features={features}")
    data.crop = Crop(10)
    gather, n = data.train_dataloader().dataset, data.in_shape[2]
    whole = data.on_after_batch_transfer(gather[np.array([[0, -1], [3, -1]])], 0).spec
    for frame in range(n - 9):
        cropped = data.on_after_batch_transfer(gather[np.array([[0, frame], [3, frame]])], 0)
        assert cropped.frame.tolist() == [frame, frame]
        assert (cropped.spec - whole[..., frame : frame + 10]).abs().max() <= 1e-6 * whole.abs().max()


class Recorder(pl.LightningModule):
    """Notes the batches that Lightning hands over."""

    def __init__(self):
        super().__init__()
        self.weight, self.trained, self.validated = torch.nn.Parameter(torch.zeros(1)), [], []

    def training_step(self, batch, index):
        self.trained.append((self.current_epoch, batch))
        return 0 * self.weight.sum()

    def validation_step(self, batch, index):
        self.validated.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def trainer(tmp_path):
    """Builds a real trainer that writes nothing."""
    quiet_lightning()

    def build(**options):
        return pl.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=tmp_path,
            **options,
        )

    return build


def test_a_trainer_gets_each_epochs_crops_with_targets_and_augmentation(root, open_data, trainer):
    data = open_data(root, "augmentation=[noise]", "augmentation.noise.p=1", "dataset.batch_size=8", "seed=5")
    data.crop = Crop(12, tile=True, overlap=4)
    model = Recorder()
    trainer(max_epochs=3).fit(model, data)
    for epoch in range(3):
        sampler = TrainSampler(data.rows("train"), data.in_shape[2], data.crop, batch_size=8, seed=5)
        sampler.set_epoch(epoch)
        batches = [batch for seen, batch in model.trained if seen == epoch]
        assert len(batches) == len(sampler)
        for batch, items in zip(batches, sampler, strict=True):
            np.testing.assert_array_equal(torch.stack([batch.clip, batch.frame], dim=1), items)
    orders = [
        tuple(row for e, batch in model.trained if e == epoch for row in batch.clip.tolist()) for epoch in range(3)
    ]
    assert len(set(orders)) == 3
    batch = model.trained[0][1]
    assert batch.spec.shape == (8, 1, 128, 12)
    assert batch.target.argmax(dim=1).tolist() == data.machine_id[batch.clip].tolist()
    assert len(batch.clip.unique()) >= 4
    assert not torch.equal(batch.spec, data.features(batch.wave, cropped=True))
    assert [row for batch in model.validated for row in batch.clip.tolist()] == 3 * data.rows("validation").tolist()
    for batch in model.validated:
        assert batch.target is None
        assert batch.frame is None
        assert torch.equal(batch.spec, data.features(batch.wave))


@pytest.mark.slow
def test_two_processes_share_training_and_score_every_clip_once(root, open_data, trainer, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # put back afterwards: a trainer sets it for the whole process
    trained, scored = [], []
    for rank in range(2):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        data = open_data(root, "dataset.batch_size=3")
        data.trainer = trainer(strategy="ddp", devices=2)
        assert (data.trainer.global_rank, data.trainer.world_size) == (rank, 2)
        trained.append([batch.clip.tolist() for batch in data.train_dataloader()])
        scored.append([row for batch in data.loader(data.rows("test")) for row in batch.clip.tolist()])
    data = open_data(root, "dataset.batch_size=6")
    whole = [batch.clip.tolist() for batch in data.train_dataloader()]
    assert [one + other for one, other in zip(*trained, strict=True)] == whole
    assert sorted(scored[0] + scored[1]) == data.rows("test").tolist()


@pytest.mark.slow
def test_worker_processes_gather_the_same_batches(root, open_data):
    read = []
    for workers in (0, 2):
        data = open_data(root, f"dataset.num_workers={workers}", "dataset.batch_size=5")
        data.crop = Crop(10)
        read.append(list(data.train_dataloader()))
    for one, other in zip(*read, strict=True):
        assert torch.equal(one.wave, other.wave)
        assert torch.equal(one.clip, other.clip)


def test_making_batches_draws_no_random_number_of_training(root, open_data):
    data = open_data(root)
    before = torch.random.get_rng_state()
    list(data.train_dataloader())
    list(data.val_dataloader())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_rows_come_in_the_order_asked_for_and_an_empty_list_is_no_batch(root, open_data):
    data = open_data(root, "dataset.batch_size=4")
    rows = np.array([7, 1, 5, 0, 2, 11])
    batches = list(data.loader(rows))
    assert [batch.clip.tolist() for batch in batches] == [[7, 1, 5, 0], [2, 11]]
    np.testing.assert_array_equal(batches[1].wave, data.waves[rows[4:]])
    assert list(data.loader(rows[:0])) == []


def test_an_id_without_test_clips_or_of_one_class(dcase_folder, open_data):
    root = dcase_folder(ids=(0, 2), train=4)
    for path in [*root.glob("fan/test/*_id_00_*"), *root.glob("fan/test/anomaly_id_02_*")]:
        path.unlink()
    data = open_data(root)
    assert data.labels == ["fan/id_00", "fan/id_02"]
    assert data.anomalous[data.rows("test")].tolist() == [0, 0]
    assert {data.clips[row].machine_id for row in data.rows("test")} == {"id_02"}
    dcase_folder(ids=(4,), train=4, test=0, anomalies=2)
    data = open_data(root)
    assert data.anomalous[data.rows("test")].tolist() == [1, 1, 0, 0]


def test_a_bad_clip_is_skipped_or_where_strict_named(dcase_folder, open_data):
    root = dcase_folder()
    (root / "fan" / "train" / "normal_id_02_00000003.wav").write_text("no sound")
    data = open_data(root)
    assert len(data.clips) == len(data.waves) == len(data.machine_id) == len(data.anomalous) == 19
    assert [path.rpartition("/")[2] for path, _ in data.skipped] == ["normal_id_02_00000003.wav"]
    for clip, number in zip(data.clips, data.machine_id, strict=True):
        assert data.labels[number] == clip.label
    with pytest.raises(InputError, match=r"normal_id_02_00000003.wav: not readable as audio.*dataset.strict=false"):
        open_data(root, "dataset.strict=true")


def test_other_rates_and_formats_become_one(dcase_folder, open_data):
    root = dcase_folder(ids=(0,), rate=44100, channels=2, subtype="PCM_24")
    dcase_folder(ids=(2,), rate=16000, subtype="FLOAT")
    data = open_data(root)
    assert data.waves.shape == (20, 8000)
    assert open_data(root, "dataset.seconds=0.25", "dataset.sample_rate=8000").waves.shape == (20, 2000)
