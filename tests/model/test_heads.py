"""Heads of classifiers, each against a second implementation that goes clip by clip; soft labels; adaptive scales."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mimii_pl.core.check import check
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.model._heads import (
    HEADS,
    AdaCos,
    AdaProj,
    ArcFace,
    SoftmaxHead,
    SubclusterAdaCos,
    fixed_scale,
)

CLIPS, WIDTH, CLASSES = 7, 6, 4
SOFT = torch.tensor(
    [[1, 0, 0, 0], [0.3, 0, 0.7, 0], [0, 0, 1, 0], [0, 0.9, 0, 0.1], [0, 0, 0, 1], [0.5, 0.5, 0, 0], [0, 1, 0, 0]]
)
MAKES = {
    "softmax": lambda: SoftmaxHead(WIDTH, CLASSES),
    "arcface": lambda: ArcFace(WIDTH, CLASSES, margin=0.6, scale=7.0),
    "adacos": lambda: AdaCos(WIDTH, CLASSES),
    "adacos dynamic": lambda: AdaCos(WIDTH, CLASSES, dynamic_scale=True),
    "subcluster_adacos": lambda: SubclusterAdaCos(WIDTH, CLASSES, subclusters=3),
    "subcluster_adacos dynamic": lambda: SubclusterAdaCos(WIDTH, CLASSES, subclusters=3, dynamic_scale=True),
    "adaproj": lambda: AdaProj(WIDTH, CLASSES, subspace=3),
}


@pytest.fixture(params=MAKES)
def head(request):
    torch.manual_seed(1)
    return MAKES[request.param]().eval()


@pytest.fixture
def x():
    return torch.randn(CLIPS, WIDTH, generator=torch.Generator().manual_seed(2))


def unit(vector):
    return vector / np.linalg.norm(vector)


def own_cosines(head, clip):
    """The cosine to every centre, or to the projection onto every subspace, with numpy."""
    rows = [unit(row) for row in head.centres.detach().numpy().astype(float)]
    if not isinstance(head, AdaProj):
        return np.array([row @ unit(clip) for row in rows])
    size = len(rows) // CLASSES
    projections = [sum((row @ unit(clip)) * row for row in rows[n * size : (n + 1) * size]) for n in range(CLASSES)]
    return np.array([unit(clip) @ unit(projection) for projection in projections])


def own_posterior(head, clip, margin_on=None):
    """The probability of every class of one clip, with numpy."""
    if isinstance(head, SoftmaxHead):
        logits = head.weight.detach().numpy().astype(float) @ clip + head.bias.detach().numpy()
    else:
        cosines = own_cosines(head, clip)
        if margin_on is not None:
            angle = math.acos(cosines[margin_on])
            beyond = angle > math.pi - head.margin
            linear = cosines[margin_on] - head.margin * math.sin(head.margin)
            cosines[margin_on] = linear if beyond else math.cos(angle + head.margin)
        logits = float(head.scale) * cosines
    shares = np.exp(logits) / np.exp(logits).sum()
    return shares.reshape(CLASSES, -1).sum(axis=1)


def test_the_posterior_is_that_of_the_second_implementation(head, x):
    expected = [own_posterior(head, clip) for clip in x.double().numpy()]
    np.testing.assert_allclose(head.log_posterior(x).detach().exp(), expected, rtol=1e-4, atol=1e-6)


def test_the_loss_of_soft_labels_is_that_of_the_second_implementation(head, x):
    losses = []
    for clip, shares in zip(x.double().numpy(), SOFT.double().numpy(), strict=True):
        margins = range(CLASSES) if isinstance(head, ArcFace) else [None] * CLASSES
        own = [own_posterior(head, clip, margin)[number] for number, margin in enumerate(margins)]
        losses.append(-(shares * np.log(own)).sum())
    assert head.loss(x, SOFT).item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses(head, x):
    one, other = torch.eye(CLASSES)[[0, 1, 2, 3, 0, 1, 2]], torch.eye(CLASSES)[[3, 2, 1, 0, 1, 2, 3]]
    mixed = head.loss(x, 0.3 * one + 0.7 * other)
    torch.testing.assert_close(mixed, 0.3 * head.loss(x, one) + 0.7 * head.loss(x, other), rtol=1e-4, atol=1e-5)


def test_only_directions_count_for_cosines(head, x):
    longer = head.log_posterior(3 * x)
    assert torch.allclose(longer, head.log_posterior(x), atol=1e-4) != isinstance(head, SoftmaxHead)


def test_arcface_beyond_the_largest_angle_keeps_falling():
    head = ArcFace(2, 2, margin=0.6, scale=7.0)
    with torch.no_grad():
        head.centres.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    angles = torch.linspace(2.0, math.pi - 1e-3, 50)
    losses = [head.loss(torch.stack([a.cos(), -a.sin()])[None], torch.tensor([[1.0, 0.0]])).item() for a in angles]
    assert (np.diff(losses) > 0).all()


def test_arcface_has_finite_gradients_at_its_centres():
    head = ArcFace(WIDTH, CLASSES)
    x = torch.cat([head.centres, -head.centres]).detach().requires_grad_()
    head.loss(x, torch.eye(CLASSES).repeat(2, 1)).backward()
    assert x.grad.isfinite().all()


def expected_scale(name, head, x, before):
    """The next scale of an adaptive head, in the words of its paper, with numpy."""
    cosines = np.array([own_cosines(head, clip) for clip in x.double().numpy()])
    angles = np.arccos(cosines).reshape(CLIPS, CLASSES, -1).mean(axis=2)
    median = np.sort((SOFT.numpy() * angles).sum(axis=1))[CLIPS // 2]
    terms = np.exp(before * cosines)
    if name == "adacos dynamic":
        terms = np.where(SOFT.numpy() == 1, 0, terms)
    if name == "adaproj":
        terms = np.where(SOFT.numpy() == 1, 1, terms)
    return np.log(terms.sum(axis=1).mean()) / np.cos(min(np.pi / 4, median))


@pytest.mark.parametrize("name", ["adacos dynamic", "subcluster_adacos dynamic", "adaproj"])
def test_the_scale_adapts_to_every_batch_of_training_alone(name, x):
    torch.manual_seed(1)
    head = MAKES[name]()
    before = head.scale.item()
    head.eval().loss(x, SOFT)
    assert head.scale.item() == before
    expected = expected_scale(name, head, x, before)
    head.train().loss(x, SOFT)
    assert expected != pytest.approx(before)
    assert head.scale.item() == pytest.approx(expected, rel=1e-4)
    assert not head.scale.requires_grad


def test_fixed_scales_follow_from_the_number_of_centres():
    assert SubclusterAdaCos(WIDTH, 41).scale.item() == pytest.approx(math.sqrt(2) * math.log(41 * 16 - 1))
    assert AdaCos(WIDTH, 10).scale.item() == pytest.approx(math.sqrt(2) * math.log(9))
    assert fixed_scale(2) == 0.5  # the formula gives 0


@pytest.mark.parametrize("name", ["adacos", "subcluster_adacos", "adaproj"])
def test_fixed_centres_are_stored_and_not_trained(name):
    head = HEADS[name][0](WIDTH, CLASSES, trainable=False)
    assert not list(head.parameters())
    assert "centres" in head.state_dict()
    assert len(list(HEADS[name][0](WIDTH, CLASSES).parameters())) == 1


def test_one_subcluster_is_adacos(x):
    one, many = AdaCos(WIDTH, CLASSES), SubclusterAdaCos(WIDTH, CLASSES, subclusters=1)
    many.load_state_dict(one.state_dict())
    torch.testing.assert_close(many.loss(x, SOFT), one.loss(x, SOFT))
    torch.testing.assert_close(many(x), one(x))


@pytest.mark.parametrize("name", HEADS)
def test_every_head_learns_to_tell_classes(name):
    torch.manual_seed(0)
    target = torch.arange(64) % CLASSES
    x = torch.randn(CLASSES, WIDTH)[target] + 0.3 * torch.randn(64, WIDTH)
    head = HEADS[name][0](WIDTH, CLASSES)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = head.loss(x, F.one_hot(target, CLASSES).float())
        loss.backward()
        optimizer.step()
    assert (head.log_posterior(x).argmax(dim=1) == target).float().mean() > 0.95


def test_an_unknown_head_is_named_with_the_choices(tmp_path):
    cfg = compose(["model=complex_ssl", "model.head=softmaxx", f"run_dir={tmp_path}"])
    with pytest.raises(InputError, match=r"model.head=softmaxx: should be 'softmax', 'arcface'"):
        check(cfg)
