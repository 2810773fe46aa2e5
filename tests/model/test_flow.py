"""Flows: determinants, inverses, densities; the loss by other machine IDs."""

import math

import pytest
import torch

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._flows import ActNorm, Coupling, Glow, InvertibleConv
from mimii_pl.model.flow import Flow


def shaken(module, by=0.3):
    """The module with weights far from the identity."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in module.parameters():
            weights += by * torch.randn_like(weights)
    return module.double()


def jacobian(function, x):
    return torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())


@pytest.mark.parametrize(
    "step", [ActNorm(6), InvertibleConv(6), Coupling(6, 8, 3, 2), Coupling(5, 8, 1, 2)], ids=lambda step: repr(step)[:9]
)
def test_a_step_tells_its_determinant_and_has_an_inverse(step):
    step, number = shaken(step), torch.tensor([1])
    channels = 5 if isinstance(step, Coupling) and step.kept == 2 else 6
    x = torch.randn(1, channels, 3, 2, dtype=torch.float64)
    z, log_det = step(x, number)
    expected = torch.linalg.slogdet(jacobian(lambda x: step(x, number)[0], x)).logabsdet
    torch.testing.assert_close(log_det[0], expected)
    torch.testing.assert_close(step.inverse(z, number), x)


@pytest.mark.parametrize(("shape", "levels"), [((5, 1, 1), 1), ((1, 8, 8), 3)], ids=["vector", "patch"])
def test_the_determinant_of_a_flow_is_that_of_its_jacobian(shape, levels):
    glow = shaken(Glow(shape, 2, levels=levels, depth=2, hidden=8, kernel=3 if levels > 1 else 1), by=0.1)
    x, number = torch.randn(1, *shape, dtype=torch.float64), torch.tensor([0])
    _, log_det = glow(x, number)
    expected = torch.linalg.slogdet(jacobian(lambda x: glow(x, number)[0], x)).logabsdet
    torch.testing.assert_close(log_det[0], expected)


def test_the_density_of_each_machine_integrates_to_one():
    glow = shaken(Glow((2, 1, 1), 3, levels=1, depth=3, hidden=8, kernel=1))
    axis = torch.linspace(-30, 30, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)[:, :, None, None]
    for number in range(3):
        density = (-2 * glow.nll(grid, torch.full((len(grid),), number))).exp()
        assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=0.01)


def test_a_flow_learns_the_entropy_of_a_correlated_normal():
    torch.manual_seed(0)
    mix = torch.tensor([[2.0, 0.0], [1.5, 0.5]])
    glow = Glow((2, 1, 1), 1, levels=1, depth=2, hidden=16, kernel=1)
    adam = torch.optim.Adam(glow.parameters(), lr=1e-2)
    for _ in range(400):
        x = (torch.randn(512, 2) @ mix.T + 3)[:, :, None, None]
        loss = glow.nll(x, torch.zeros(512, dtype=torch.long)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    entropy = 0.5 * (2 + 2 * math.log(2 * math.pi)) + math.log(abs(torch.linalg.det(mix)))
    assert loss.item() == pytest.approx(entropy / 2, abs=0.1)


# --- the detector ----------------------------------------------------------------------------------------------------
def batch(ids, frames=64, bins=8, seed=0):
    ids = torch.tensor(ids)
    spec = torch.randn(len(ids), 1, bins, frames, generator=torch.Generator().manual_seed(seed))
    return Batch(torch.zeros(len(ids), 8), ids, torch.full_like(ids, -1), ids, spec)


def test_an_unseen_machine_is_scored_as_the_most_likely_one():
    model = shaken(Flow((1, 8, 64), 3)).float().eval()
    clip = batch([0])
    known = [model.score(clip._replace(machine_id=torch.tensor([k]))).item() for k in range(3)]
    assert len(set(known)) == 3
    assert model.score(clip._replace(machine_id=torch.tensor([-1]))).item() == pytest.approx(min(known))


def test_the_score_is_the_mean_over_windows():
    model = shaken(Flow((1, 8, 64), 2, frames=32, window_hop=32)).float().eval()
    clips = batch([0, 1])
    halves = [model.score(clips._replace(spec=part)) for part in clips.spec.split(32, dim=3)]
    torch.testing.assert_close(model.score(clips), (halves[0] + halves[1]) / 2)


def test_other_machines_should_be_less_likely():
    model = shaken(Flow((1, 8, 64), 2, outlier=0.5, margin=2.0)).float().eval()
    model.limit.fill_(1.5)
    clips = batch([0, 1])
    x = model.windows(clips).flatten(0, 1)
    own, other = (model.glow.nll(x, number) for number in (clips.machine_id, 1 - clips.machine_id))
    torch.testing.assert_close(model.loss(clips), own.mean() + 0.5 * (3.5 - other).clamp(min=0).mean())


def test_the_limit_follows_the_likelihoods_of_training_clips():
    model, clips = Flow((1, 8, 64), 2, noise=0.0, outlier=1.0).train(), batch([0, 1] * 8)
    own = model.glow.nll(model.windows(clips).flatten(0, 1), clips.machine_id)
    model.loss(clips)
    assert model.limit.item() == pytest.approx(own.quantile(0.95).item())


def test_patches_that_cannot_be_halved_are_explained():
    with pytest.raises(InputError, match=r"model.levels=3: patches of 8 bins x 60 frames.*multiples of 8"):
        Flow((1, 8, 64), 2, view="patch", frames=60)


def test_patches_are_scored():
    model, clips = Flow((1, 8, 64), 2, view="patch", frames=32, depth=1, hidden=8).eval(), batch([0, 1])
    assert model.windows(clips).shape == (2, 2, 1, 8, 32)
    assert model.score(clips).isfinite().all()
    assert model.embed(clips).shape == (2, 2, 8 * 32)


def test_one_machine_has_no_others():
    with pytest.raises(InputError, match=r"model.outlier=0.5.*one ID only"):
        Flow((1, 8, 64), 1, outlier=0.5)
