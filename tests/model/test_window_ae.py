"""Auto-encoders over windows: sizes and the properties of each."""

from itertools import pairwise

import pytest
import torch
from support import world

from mimii_pl.core.config import build
from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._variational import divergence, sample
from mimii_pl.model.idnn import IDNN
from mimii_pl.model.vae import VAE

SHAPE = (1, 64, 40)  # bands, frames


def make(name, *options):
    cfg = world.composed(f"model={name}", *(f"model.{option}" for option in options))
    return build(cfg.model, SHAPE, 2).eval()


def parameters(name):
    return sum(p.numel() for p in make(name).parameters())


def batch(spec):
    nothing = torch.zeros(len(spec), dtype=torch.long)
    return Batch(torch.zeros(len(spec), 1), nothing, nothing, nothing, spec)


def dense_size(*widths):
    return sum(a * b + b for a, b in pairwise(widths))


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("simple_ae", (320, 64, 8, 64, 320)),
        ("deep_ae", (320, 128, 64, 32, 16, 32, 64, 128, 320)),
        ("mimii_ae", (320, 64, 64, 8, 64, 64, 320)),
        ("denoising_ae", (320, 128, 64, 16, 64, 128, 320)),
        ("idnn", (256, 64, 32, 16, 32, 64, 64)),
    ],
)
def test_sizes_are_those_of_the_documents(name, widths):
    assert parameters(name) == dense_size(*widths)


def test_vae_has_two_heads():
    assert parameters("vae") == dense_size(320, 128, 64) + 2 * dense_size(64, 16) + dense_size(16, 64, 128, 320)


def test_ss_ae_has_half_the_parameters_of_simple_ae():
    assert parameters("ss_ae") < 0.5 * parameters("simple_ae")


NAMES = ["simple_ae", "conv_ae", "lstm_ae", "attention_ae", "residual_ae", "ss_ae", "vae"]


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_of_a_window_is_reconstructed_from_the_input(name):
    torch.manual_seed(0)
    model, x = make(name), torch.randn(6, 320)
    frames = model.reconstruction(x).unflatten(1, (5, 64))
    assert (frames.std(dim=0).mean(dim=1) > 1e-4).all()  # a frame that is bias alone would be the same for all windows


@pytest.mark.parametrize("name", [*NAMES, "idnn", "dense_ae"])
@pytest.mark.parametrize(("bands", "frames"), [(40, 3), (33, 7)])
def test_bands_and_frames_are_options(name, bands, frames):
    cfg = world.composed(f"model={name}", f"model.frames={frames}")
    model = build(cfg.model, (1, bands, 20), 2).eval()
    spec = torch.randn(2, 1, bands, 20)
    assert model.score(batch(spec)).shape == (2,)
    assert model.embed(batch(spec)).shape[:2] == (2, 20 - frames + 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_the_mean_squared_error_of_all_windows(name):
    model, spec = make(name), torch.randn(2, *SHAPE)
    windows = torch.stack([spec[:, 0, :, i : i + 5].transpose(1, 2).flatten(1) for i in range(36)], dim=1)
    errors = (model.reconstruction(windows.flatten(0, 1)) - windows.flatten(0, 1)).square().mean(dim=1)
    torch.testing.assert_close(model.score(batch(spec)), errors.view(2, 36).mean(dim=1))


def test_lstm_reads_frames_in_their_order():
    model, x = make("lstm_ae"), torch.randn(1, 5, 64)
    assert not torch.allclose(model.encoder(x.flatten(1)), model.encoder(x.flip(1).flatten(1)))
    assert model.encoder.lstm.input_size == 64


def test_slices_of_ss_ae_share_weights():
    model, x = make("ss_ae"), torch.randn(1, 5, 64)
    swapped = model.slice(x[:, [1, 0, 2, 3, 4]])
    torch.testing.assert_close(swapped, model.slice(x)[:, [1, 0, 2, 3, 4]])


def test_noise_is_for_training_only():
    model, x = make("denoising_ae", "dropout=0"), torch.randn(3, 320)
    torch.testing.assert_close(model.reconstruction(x), model.reconstruction(x))
    model.train()
    assert not torch.allclose(model.reconstruction(x), model.reconstruction(x))


def test_idnn_does_not_see_the_frame_it_predicts():
    model = IDNN(SHAPE, 2)
    spec = torch.randn(1, 1, 64, 5)  # one window
    other = spec.clone()
    other[..., 2] += 1
    torch.testing.assert_close(model.embed(batch(spec)), model.embed(batch(other)))
    change = model.windows(batch(other)) - model.windows(batch(spec))
    assert change[0, 0, :256].abs().max() == 0
    torch.testing.assert_close(change[0, 0, 256:], torch.ones(64))
    with pytest.raises(InputError, match="odd number of frames"):
        IDNN(SHAPE, 2, frames=4)


def test_divergence_is_torchs():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_samples_have_the_mean_and_spread_of_the_posterior():
    torch.manual_seed(0)
    drawn = sample(torch.full((20_000, 1), 2.0), torch.full((20_000, 1), 9.0).log())
    assert drawn.mean().item() == pytest.approx(2, abs=0.1)
    assert drawn.std().item() == pytest.approx(3, abs=0.1)


def test_beta_weighs_the_divergence():
    spec = torch.randn(2, *SHAPE)
    losses = []
    for beta in (0.0, 1.0, 3.0):
        torch.manual_seed(0)
        losses.append(VAE(SHAPE, 2, beta=beta).eval().loss(batch(spec)).item())
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-3)
    assert losses[1] > losses[0]


@pytest.mark.parametrize("name", ["dense_ae", "simple_classifier"])
@pytest.mark.parametrize("frame_range", ["[5,3]", "[5]", "[1,2,9]", "[-9,9]", "[0,3]", "[38,90]", "[90,99]"])
def test_a_range_without_a_window_is_named(name, frame_range):
    with pytest.raises(InputError, match=r"model\.frame_range=\[.*model\.frames=5 apart, of clips of 40 frames"):
        make(name, f"frame_range={frame_range}")
    assert make(name, "frame_range=[35,90]").cut.crop.within == (35, 90)
