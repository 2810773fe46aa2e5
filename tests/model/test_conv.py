"""Convolutional auto-encoders of images and waveforms."""

import pytest
import torch
from support import world

from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._conv import ConvDecoder, ConvEncoder, same_conv
from mimii_pl.model.conv_ae_image import ConvAEImage
from mimii_pl.model.skip_ae import SkipAE
from mimii_pl.model.wave_ae import WaveAE


def batch(spec, wave=None):
    nothing = torch.zeros(len(spec), dtype=torch.long)
    return Batch(torch.zeros(len(spec), 1) if wave is None else wave, nothing, nothing, nothing, spec)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 6, 8])
def test_a_convolution_keeps_the_size(kernel):
    assert same_conv(1, 2, kernel)(torch.randn(1, 1, 9, 14)).shape == (1, 2, 9, 14)


@pytest.mark.parametrize("size", [(5, 64), (128, 313), (7, 9)])
@pytest.mark.parametrize("skip", [False, True])
def test_an_image_of_any_size_keeps_that_size(size, skip):
    encoder, decoder = ConvEncoder([1, 4, 8], [3, 2]), ConvDecoder([1, 4, 8], [3, 2], skip=skip)
    *sizes, last = encoder.sizes(size)
    latent, before = encoder(torch.randn(2, 1, *size))
    assert latent.shape[2:] == last
    assert [x.shape[2:] for x in before] == sizes
    assert decoder(latent, sizes, before).shape == (2, 1, *size)


def test_the_latent_of_a_clip_is_its_last_level_or_a_posterior():
    spec = torch.rand(3, 1, 128, 126)
    plain, variational = ConvAEImage((1, 128, 126), 2).eval(), ConvAEImage((1, 128, 126), 2, latent=5).eval()
    assert plain.embed(batch(spec)).shape == (3, 64 * 8 * 8)
    assert variational.embed(batch(spec)).shape == (3, 5)
    for model in (plain, variational):
        torch.testing.assert_close(model.score(batch(spec)), model.score(batch(spec)))
    torch.testing.assert_close(plain.loss(batch(spec)), plain.score(batch(spec)).mean())
    with pytest.raises(InputError, match="one kernel per level"):
        ConvAEImage((1, 128, 126), 2, kernels=[3])


def test_a_skip_carries_details_past_the_bottleneck():
    torch.manual_seed(0)
    spec = torch.randn(2, 1, 64, 64)
    reconstructed = {}
    for skip in (False, True):
        model = SkipAE((1, 64, 64), 2, skip=skip).eval()
        model.expand.register_forward_hook(lambda module, given, made: 0 * made)
        reconstructed[skip] = model.decoder(
            model.expand(model.squeeze(model.encoder(spec)[0])), model.sizes, model.encoder(spec)[1]
        )
    assert reconstructed[False][0].allclose(reconstructed[False][1])  # no latent: same output for all
    assert not reconstructed[True][0].allclose(reconstructed[True][1])


def test_a_clip_is_scored_on_crops_that_cover_it():
    model, spec = SkipAE((1, 64, 150), 2).eval(), torch.randn(2, 1, 64, 150)
    crops = [spec[..., start : start + 64] for start in (0, 64, 86)]
    expected = torch.stack([model.errors(crop) for crop in crops]).mean(dim=0)
    torch.testing.assert_close(model.score(batch(spec)), expected)


def test_a_waveform_is_covered_by_excerpts_scaled_to_0_and_1():
    model, wave = WaveAE((1, 8, 8), 2, excerpt=4096), torch.randn(2, 10_001)
    parts = model.excerpts(batch(torch.zeros(2, 1), wave))
    scaled = (wave - wave.min(dim=1, keepdim=True).values) / (wave.amax(1) - wave.amin(1))[:, None]
    assert parts.shape == (2, 3, 4096)
    torch.testing.assert_close(parts[:, 1], scaled[:, 4096:8192])
    torch.testing.assert_close(parts[:, 2], scaled[:, -4096:])
    assert parts.min() == 0
    assert parts.max() == 1


def test_a_wave_score_is_the_reconstruction_error_not_a_sum_of_the_output():
    model, wave = WaveAE((1, 8, 8), 2, excerpt=4096).eval(), torch.randn(2, 8192)
    model.reconstruct = lambda z: torch.full((len(z), 1, 4096), 0.25)
    x = model.excerpts(batch(torch.zeros(2, 1), wave))
    torch.testing.assert_close(model.score(batch(torch.zeros(2, 1), wave)), (x - 0.25).square().mean(dim=(1, 2)))


def test_the_layers_of_wave_ae_are_those_of_the_document():
    model = WaveAE((1, 8, 8), 2)
    assert [conv.out_channels for conv in model.encoder] == [16, 32, 64, 128, 256]
    assert [conv.dilation[0] for conv in model.encoder] == [1, 2, 4, 8, 16]
    assert model.latent(torch.randn(1, 1, 4096)).shape == (1, 256, 1024)  # two poolings


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("conv_ae", "kernel=129", "model.kernel=129: 129 is more than twice the image of 5 x 64"),
        ("conv_classifier", "kernel=1001", "model.kernel=1001: 1001 is more than twice the image of 5 x 64"),
        ("skip_ae", "kernel=1001", "model.kernel=1001: 1001 is more than twice the image of 64 x 40"),
        ("conv_ae_image", "kernels=[8,1001,4,2]", r"model.kernels=\[8, 1001, 4, 2\]: 1001 is more than twice"),
        ("attention_ae", "hidden=63", "model.hidden=63 should be a multiple of model.heads="),
        ("audio_transformer", "hidden=95", "model.hidden=95 should be a multiple of model.heads="),
    ],
)
def test_layers_that_cannot_be_are_named_by_their_option(name, option, message):
    cfg = world.composed(f"model={name}", f"model.{option}")
    with pytest.raises(InputError, match=message):
        build(cfg.model, (1, 64, 40), 2)
