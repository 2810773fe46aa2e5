"""The discriminative network on spectrum and spectrogram: sizes, views, exchange of parts, classes within an ID."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import imitation, world

from mimii_pl import load
from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model.dis_spec import DisSpec, SpectrumBranch, _positions, clip_length, exchange
from mimii_pl.run import build_detector, build_task, run

SHAPE = (1, 128, 344)


def batch(clips=3, samples=176_000, target=None):
    wave = 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(clips) % 2
    return Batch(wave, ids, torch.full((clips,), -1), ids, None, target)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DisSpec(SHAPE, 41).eval()


def test_sizes_are_those_of_the_source(model):
    """2.5 million parameters, 256 values, 500 bins x 344 frames, and maps of 16 x 11 before the maximum over time."""
    sizes = {type(layer).__name__: [] for layer in model.modules()}
    hooks = [
        layer.register_forward_hook(lambda layer, _, out: sizes[type(layer).__name__].append(tuple(out.shape[1:])))
        for layer in model.modules()
    ]
    embedding = model.embed(batch(2))
    for hook in hooks:
        hook.remove()
    assert embedding.shape == (2, 256)
    assert model.branches[0].magnitudes(batch(1).wave).shape == (1, 500, 344)
    assert sizes["MaxPool2d"][0] == (16, 123, 84)
    assert list(dict.fromkeys(sizes["NormalizedBlock"])) == [(16, 123, 84), (32, 62, 42), (64, 31, 21), (128, 16, 11)]
    assert sizes["Conv1d"] == [(128, 1372), (128, 41), (128, 7)]
    branches = sum(p.numel() for p in model.branches.parameters())
    assert 2.45e6 < branches < 2.55e6
    assert sum(p.numel() for p in model.head.parameters()) == 256 * 41 * 16
    assert DisSpec(SHAPE, 2, resolutions=[256, 1024, 4096]).eval().embed(batch(1)).shape == (1, 512)


def test_no_layer_has_a_bias_and_no_batch_norm_parameters(model):
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 20
    assert not any(norm.affine for norm in norms)


def test_the_spectrogram_is_that_of_torchaudio(model):
    from torchaudio.transforms import Spectrogram

    wave = batch(2).wave
    expected = Spectrogram(1024, hop_length=512, power=1, normalized=True, pad_mode="constant")(wave)[:, 13:]
    torch.testing.assert_close(model.branches[0].magnitudes(wave), expected, rtol=1e-4, atol=1e-6)


def test_the_spectrum_is_that_of_the_whole_clip():
    seen = []
    branch = SpectrumBranch(176_000).eval()
    branch.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    wave = torch.sin(2 * math.pi * 440 * torch.arange(176_000) / 16_000)[None]
    branch(wave)
    assert seen[0].shape == (1, 1, 88_001)
    assert seen[0].argmax().item() == 440 * 11
    assert seen[0].max().item() == pytest.approx(88_000, rel=1e-3)


def test_clips_are_repeated_and_cut(model):
    short, long = torch.arange(64_000.0)[None], torch.arange(400_000.0)[None]
    repeated = model.fit_length(short)[0]
    assert len(repeated) == 176_000
    assert torch.equal(repeated, short[0].repeat(3)[:176_000])
    assert torch.equal(model.fit_length(long)[0], long[0, :176_000])
    training = DisSpec(SHAPE, 2).train()
    starts = training.fit_length(long.repeat(8, 1))[:, 0]
    assert len(starts.unique()) > 4
    assert starts.max() <= 400_000 - 176_000


def test_low_sampling_frequencies_have_longer_clips():
    assert clip_length([1024], 11.0, 16_000) == 176_000
    fewest = clip_length([1024], 1.0, 1000)
    assert fewest == 70_014
    assert (_positions(fewest // 2), _positions(fewest // 2 + 1)) == (0, 1)
    assert SpectrumBranch(fewest).eval()(torch.zeros(1, fewest)).shape == (1, 128)
    assert DisSpec(SHAPE, 2, sample_rate=1000).eval().embed(batch(2, 1000)).shape == (2, 256)


@pytest.mark.parametrize("options", [{"resolutions": [64]}, {"f_min": 7900.0}, {"sample_rate": 300}])
def test_too_few_bins_are_named(options):
    with pytest.raises(InputError, match=r"bins above model.f_min and needs 36"):
        DisSpec(SHAPE, 2, **options)


def test_one_machine_id_is_explained():
    with pytest.raises(InputError, match=r"model=dis_spec.*one ID only"):
        DisSpec(SHAPE, 1)


def test_exchanged_parts_say_whose_they_are():
    torch.manual_seed(0)
    target = torch.eye(64)
    parts = [F.one_hot(torch.arange(64), 64).float() + 64 * number for number in range(3)]
    mixed, shares = exchange(parts, target, 0.5)
    assert mixed.shape == (64, 192)
    assert shares.shape == (64, 4 * 64)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(64))
    untouched = shares[:, :64].sum(dim=1) == 1
    assert 15 < untouched.sum() < 49
    assert torch.equal(mixed[untouched], torch.cat(parts, dim=1)[untouched])
    for clip in (~untouched).nonzero().flatten():
        owners = [mixed[clip, 64 * n : 64 * (n + 1)].argmax().item() for n in range(3)]
        assert owners[0] == clip
        assert shares[clip, 64:].view(3, 64).argmax(dim=1).tolist() == owners
        assert shares[clip, 64:].max().item() == pytest.approx(1 / 3)
    assert torch.equal(exchange(parts, target, 0)[0], torch.cat(parts, dim=1))


def test_the_options_add_losses_with_heads_of_their_own():
    torch.manual_seed(0)
    plain, more = DisSpec(SHAPE, 2), DisSpec(SHAPE, 2, subspace_loss=True, feat_ex=0.5)
    more.load_state_dict(plain.state_dict(), strict=False)
    assert (len(plain.part_heads), plain.exchange_head) == (0, None)
    assert [head.centres.shape for head in more.part_heads] == [(32, 128)] * 2
    assert more.exchange_head.centres.shape == (2 * 3 * 16, 256)
    clips = batch(4)
    target = F.one_hot(clips.machine_id, 2).float()
    parts = more.eval().parts(clips)
    expected = plain.eval().loss(clips) + sum(
        head.loss(part, target) for head, part in zip(more.part_heads, parts, strict=True)
    )
    torch.testing.assert_close(more.loss(clips), expected)  # held-out clips keep their parts
    assert more.train().loss(clips) > expected


def test_fixed_centres_are_those_of_the_first_head_alone():
    model = DisSpec(SHAPE, 2, trainable=False, subspace_loss=True, feat_ex=0.5, head="adaproj")
    assert not list(model.head.parameters())
    assert all(list(head.parameters()) for head in (*model.part_heads, model.exchange_head))


def test_the_probability_of_a_machine_id_is_the_sum_of_its_classes():
    torch.manual_seed(0)
    model = DisSpec(SHAPE, 5).eval()
    whole = model.classify(batch())
    model.ids.copy_(torch.tensor([0, 0, 1, 1, 1]))
    shares = model.classify(batch())
    torch.testing.assert_close(shares, torch.stack([whole[:, :2].sum(dim=1), whole[:, 2:].sum(dim=1)], dim=1))
    torch.testing.assert_close(model.score(batch()), -shares[range(3), batch().machine_id].log())


@pytest.fixture
def attributed(tmp_path):
    """Clips of two sections, with domains and speeds."""
    imitation.unpacked(imitation.DCASE["dcase2022"][0]["dev_bearing.zip"], tmp_path / "dev_data")
    return ["dataset=dcase2022", "machine=bearing", "dataset.download=false", "dataset.classes=attributes"], tmp_path


@pytest.mark.slow
def test_classes_within_a_machine_id_are_trained_on_and_scored_as_the_id(attributed):
    options, root = attributed
    cfg = world.configured(root, "model=dis_spec", *options, "model.seconds=4.4", "training.epochs=1")
    run(cfg, root / "run")
    scorer = load(root / "run")
    ids = scorer.detector.ids
    assert len(ids) > 2
    assert ids.unique().tolist() == [0, 1]
    assert ids.tolist() == sorted(ids.tolist())
    waves = np.random.default_rng(0).integers(-3000, 3000, (4, scorer.samples)).astype(np.int16)
    shares = scorer.classify_waves(waves, np.array([0, 1, 0, 1]))
    assert shares.shape == (4, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_a_classifier_of_machine_ids_alone_refuses_classes_within_them(attributed):
    options, root = attributed
    cfg = world.configured(root, "model=complex_ssl", *options)
    data = world.data_of(cfg)
    with pytest.raises(InputError, match=r"model=complex_ssl takes one class per machine ID.*model=dis_spec"):
        build_task(cfg).validate(build_detector(cfg, data), data)


def test_mixed_waveforms_are_what_it_hears(tmp_path):
    root = world.write(tmp_path / "world")
    data = world.data_of(world.configured(root, "model=dis_spec", "augmentation.mixup_uniform.p=1"))
    (mixup,) = data.augmentation
    clips, target = batch(4, 100), torch.eye(4)
    mixed = mixup(clips._replace(spec=clips.wave[:, None, :, None], target=target))
    np.testing.assert_allclose(mixed.wave, mixed.target @ clips.wave, rtol=1e-4, atol=1e-6)
    assert (mixed.target.max(dim=1).values < 1).any()
