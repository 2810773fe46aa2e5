"""STgram and TFgram: frames of the learned channels, sizes, lengths, losses, averaged weights."""

import pytest
import torch
import torch.nn.functional as F

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.features.log_mel import LogMel
from mimii_pl.model._averaged import Averaged
from mimii_pl.model._mobile_face_net import MobileFaceNet
from mimii_pl.model._waveform_channels import TFgramChannel, TgramChannel
from mimii_pl.model.stgram import STgram
from mimii_pl.model.tfgram import TFgram, contrast

RATE = 16000


def batch(clips=4, samples=RATE, seed=0):
    wave = 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))
    ids = torch.arange(clips) % 2
    return Batch(wave, ids, torch.full((clips,), -1), torch.arange(clips), LogMel(n_mels=32)(wave))


def size(module):
    return sum(p.numel() for p in module.parameters())


def test_size_is_that_of_the_published_network():
    """1.16 M with 41 classes; its layer norms are over 313 frames, its last map is weighted at 8 x 20 positions."""
    model = STgram((1, 128, 313), 41)
    assert size(model) - 3 * 2 * 128 + 3 * 2 * 313 + 512 * (160 - 8) == pytest.approx(1.16e6, rel=0.005)


@pytest.mark.parametrize("samples", [16_000, 16_383, 16_384, 40_001])
def test_the_filters_see_the_frames_of_the_spectrum(samples):
    """Filters that are windowed cosines give the real part of the spectrum that the features have."""
    channel, clips = TgramChannel(32), batch(2, samples)
    features = LogMel(n_mels=32)
    frequencies = torch.arange(32) * 8
    angle = 2 * torch.pi * frequencies[:, None] * torch.arange(1024) / 1024
    channel.filters.weight.data = angle.cos() * features.window
    seen = []
    channel.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert channel(clips).shape == (2, 1, 32, clips.spec.shape[3])
    expected = features.stft(features.pad(clips.wave)).real[:, frequencies]
    torch.testing.assert_close(seen[0], expected, rtol=1e-3, atol=1e-3)


def test_a_crop_has_the_frames_that_the_whole_clip_has_there():
    channel, features, clips = TgramChannel(32), LogMel(n_mels=32), batch(2, 2 * RATE)
    seen = []
    channel.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    channel(clips)
    start, length = features.span(10, 20)
    crop = clips._replace(
        wave=clips.wave[:, start : start + length], spec=clips.spec[..., 10:30], frame=torch.tensor([10, 10])
    )
    channel(crop)
    torch.testing.assert_close(seen[1], seen[0][:, :, 10:30], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channel", [TgramChannel(32), TFgramChannel(32)], ids=["Tgram", "TFgram"])
@pytest.mark.parametrize("samples", [1600, 16_000, 50_000])
def test_learned_channels_have_the_shape_of_the_spectrum(channel, samples):
    clips = batch(3, samples)
    assert channel(clips).shape == clips.spec.shape


@pytest.mark.parametrize("frames", [1, 5, 64, 313])
@pytest.mark.parametrize("bins", [128, 33, 7])
def test_mobile_face_net_takes_any_length(bins, frames):
    assert MobileFaceNet(2, bins).eval()(torch.randn(2, 2, bins, frames)).shape == (2, 128)


def test_repeating_a_spectrum_changes_the_embedding_little():
    """Frames are averaged, so a map twice as long differs at its edges only."""
    torch.manual_seed(0)
    net, x = MobileFaceNet(1, 32).eval(), torch.randn(1, 1, 32, 128)
    once, twice = net(x), net(torch.cat([x, x], dim=3))
    assert F.cosine_similarity(once, twice) > 0.99


def test_the_score_tells_sure_clips_apart():
    """In float32 the cross entropy of logits that differ by more than 17 is 0."""
    model = STgram((1, 32, 32), 2).eval()
    model.head.centres.data = torch.eye(2, 128)
    embeddings = torch.zeros(2, 128)
    embeddings[0, 0], embeddings[1] = 1, torch.tensor([0.9, 0.1] + 126 * [0.0])
    model.embed = lambda _: embeddings
    scores = model.score(batch(2)._replace(machine_id=torch.tensor([0, 0])))
    assert 0 < scores[0] < scores[1] < 1e-8


def test_one_id_leaves_nothing_to_learn():
    with pytest.raises(InputError, match=r"model=stgram.*one ID only"):
        STgram((1, 32, 32), 1)


# --- TFgram ----------------------------------------------------------------------------------------------------------
def test_the_contrastive_loss_by_its_definition():
    generator = torch.Generator().manual_seed(0)
    embedding, number = F.normalize(torch.randn(5, 8, generator=generator)), torch.tensor([0, 1, 0, 0, 2])
    expected = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        total = sum(torch.exp(embedding[i] @ embedding[j] / 0.1) for j in others)
        alike = [j for j in others if number[j] == number[i]]
        terms = [-torch.log(torch.exp(embedding[i] @ embedding[j] / 0.1) / total) for j in alike]
        expected += sum(terms) / max(1, len(terms)) / 5
    torch.testing.assert_close(contrast(embedding, number, 0.1), 0.1 / 0.07 * expected)


def test_without_mixing_and_contrast_the_loss_is_that_of_arcface():
    torch.manual_seed(0)
    model, clips = TFgram((1, 32, 32), 2, mix=0.0, contrast=0.0, margin=0.4), batch()
    embedding = model.network(clips)[0]
    head = model.network.head
    head.margin, head.scale = 0.4, torch.tensor(30.0)
    torch.testing.assert_close(model.loss(clips), head.loss(embedding, F.one_hot(clips.machine_id, 2).float()))


def test_the_margin_is_on_the_first_clip_of_a_mixture(monkeypatch):
    model, clips = TFgram((1, 32, 32), 2, contrast=0.0, margin=0.4, scale=30.0), batch()
    order = torch.tensor([1, 0, 3, 2])  # of the other machine ID
    monkeypatch.setattr("mimii_pl.model.tfgram.mixture", lambda *_: (0.7, order))
    seen = []
    model.network.register_forward_hook(lambda _, inputs, outputs: seen.append((inputs[0], outputs[1].detach())))
    loss = model.loss(clips)
    (mixed, cosine), *_ = seen
    torch.testing.assert_close(mixed.wave, 0.7 * clips.wave + 0.3 * clips.wave[order])
    torch.testing.assert_close(mixed.spec, 0.7 * clips.spec + 0.3 * clips.spec[order])
    logits = 30 * cosine
    rows = torch.arange(4)
    logits[rows, clips.machine_id] = 30 * (cosine[rows, clips.machine_id].acos() + 0.4).cos()
    first, second = (F.cross_entropy(logits, clips.machine_id[chosen]) for chosen in (rows, order))
    torch.testing.assert_close(loss, 0.7 * first + 0.3 * second)


def test_weights_are_averaged_and_used_in_evaluation():
    network = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1)).eval()
    averaged, x = Averaged(network, decay := 0.2), torch.randn(3, 2)
    before = network[0].weight.detach().clone()
    torch.testing.assert_close(averaged.call(network, x), network(x))
    with torch.no_grad():
        network[0].weight += 1
    averaged.update(network)
    averaged.update(network)
    value = before + 1 - decay * 2 / 11  # the first update has a decay of (1 + 1) / (10 + 1)
    torch.testing.assert_close(averaged.get_buffer("0|weight"), value)
    own, network[0].weight.data = network[0].weight.data, value
    by_hand = network(x)
    network[0].weight.data = own
    torch.testing.assert_close(averaged.call(network, x), by_hand)
    assert not list(averaged.parameters())


def test_scores_come_from_the_averages():
    torch.manual_seed(0)
    model, clips = TFgram((1, 32, 32), 2).eval(), batch()
    before = model.score(clips)
    with torch.no_grad():
        for weights in model.network.parameters():
            weights += 0.1
    assert torch.equal(model.score(clips), before)
    model.on_train_batch_end(None, clips, 0)
    assert not torch.equal(model.score(clips), before)
