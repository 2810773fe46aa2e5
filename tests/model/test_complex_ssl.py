"""The complex network: algebra, size, windows, errors."""

import pytest
import torch
import torch.nn.functional as F

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._complex import ComplexConv2d, PReLU, squared_magnitude
from mimii_pl.model._heads import HEADS
from mimii_pl.model.complex_ssl import ComplexSSL


def batch(spec, ids):
    ids = torch.tensor(ids)
    return Batch(wave=torch.zeros(len(ids), 1), machine_id=ids, anomalous=ids * 0, clip=ids, spec=spec)


@pytest.mark.parametrize("channels_in", [1, 3])
def test_convolution_equals_torch_complex_convolution(channels_in):
    conv = ComplexConv2d(channels_in, 5, (5, 3), (2, 2), (2, 1))
    z = torch.randn(2, channels_in, 17, 12, dtype=torch.complex64)
    expected = F.conv2d(z, torch.complex(conv.real, conv.imag), stride=(2, 2), padding=(2, 1))
    torch.testing.assert_close(torch.complex(*conv((z.real, z.imag))), expected, rtol=1e-4, atol=1e-4)


def test_squared_magnitude_is_that_of_the_complex_number():
    z = torch.randn(2, 3, 4, 5, dtype=torch.complex64)
    torch.testing.assert_close(squared_magnitude((z.real, z.imag)), z.abs().square())


def test_prelu_and_its_gradients_equal_torchs():
    own, x = PReLU(6), torch.randn(3, 6, 7, 8, requires_grad=True)
    with torch.no_grad():
        own.slope.copy_(torch.randn(6))
    slope, y = own.slope.detach().clone().requires_grad_(), x.detach().clone().requires_grad_()
    weight = torch.randn(3, 6, 7, 8)
    (own(x) * weight).sum().backward()
    (F.prelu(y, slope) * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(own.slope.grad, slope.grad, rtol=1e-4, atol=1e-4)


def test_size_is_that_of_the_published_network():
    parameters = sum(p.numel() for p in ComplexSSL((2, 513, 313), 4).parameters())
    assert 857_000 < parameters < 861_000  # about 859k with the heads


def test_windows_cover_the_clip_and_the_last_one_ends_with_it():
    model = ComplexSSL((2, 65, 313), 2, frames=64, window_hop=64)
    spec = torch.arange(313.0).expand(1, 2, 65, 313)
    starts = model.windows(spec)[0, :, 0, 0, 0].tolist()
    assert starts == [0, 64, 128, 192, 249]
    assert model.windows(spec[..., :64]).shape[1] == 1
    assert model.windows(spec[..., :40]).shape == (1, 1, 2, 65, 40)


def test_score_is_the_mean_over_windows():
    model = ComplexSSL((2, 65, 128), 3, frames=64).eval()
    spec = torch.randn(2, 2, 65, 128)
    whole = model.score(batch(spec, [0, 2]))
    halves = [model.score(batch(part, [0, 2])) for part in spec.split(64, dim=3)]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2)


def test_scores_by_their_definitions():
    spec = torch.randn(3, 2, 65, 64)
    model = ComplexSSL((2, 65, 64), 3).eval()
    posterior = model.logits(spec)[2].softmax(dim=1)
    ids = torch.tensor([0, 1, 2])
    expected = {
        "cross_entropy": -posterior.log()[range(3), ids],
        "entropy": -(posterior * posterior.log()).sum(dim=1),
        "max_probability": 1 - posterior.max(dim=1).values,
    }
    for name, value in expected.items():
        model.hparams.score = name
        torch.testing.assert_close(model.score(batch(spec, [0, 1, 2])), value)


def test_an_unseen_machine_is_scored_against_the_most_likely_one():
    spec, model = torch.randn(1, 2, 65, 64), ComplexSSL((2, 65, 64), 3).eval()
    known = [model.score(batch(spec, [i])).item() for i in range(3)]
    assert model.score(batch(spec, [-1])).item() == pytest.approx(min(known))


def test_loss_takes_soft_targets():
    model, spec = ComplexSSL((2, 65, 64), 3), torch.randn(2, 2, 65, 64)
    hard = batch(spec, [0, 2])
    soft = hard._replace(target=F.one_hot(hard.machine_id, 3).float())
    torch.testing.assert_close(model.loss(hard), model.loss(soft))


def test_one_id_is_an_error_that_names_the_way_out():
    with pytest.raises(InputError, match=r"one ID only.*model=dense_ae"):
        ComplexSSL((2, 513, 313), 1)


def test_features_without_phase_are_an_error():
    with pytest.raises(InputError, match="complex_stft"):
        ComplexSSL((1, 128, 313), 4)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_classifies_windows(head):
    torch.manual_seed(0)
    model, spec = ComplexSSL((2, 65, 128), 3, head=head), torch.randn(4, 2, 65, 128)
    model.loss(batch(spec, [0, 1, 2, 0])).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.classifiers.parameters())
    posterior = model.eval().posterior(batch(spec, [0, 1, 2, 0])).exp()
    assert posterior.shape == (4, 2, 3)
    torch.testing.assert_close(posterior.sum(dim=2), torch.ones(4, 2))


def test_the_loss_of_softmax_is_the_sum_of_three_cross_entropies():
    model, spec, ids = ComplexSSL((2, 65, 64), 3), torch.randn(5, 2, 65, 64), torch.tensor([0, 1, 2, 0, 1])
    expected = sum(F.cross_entropy(logits, ids) for logits in model.logits(spec))
    torch.testing.assert_close(model.loss(batch(spec, ids.tolist())), expected)
    assert {key for key in model.state_dict() if "classifiers" in key} == {
        f"classifiers.{branch}.{part}" for branch in range(3) for part in ("weight", "bias")
    }
