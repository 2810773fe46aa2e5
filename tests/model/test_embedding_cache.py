"""The cache of embeddings: only new clips are computed, for each network apart, and no result depends on the file."""

import logging

import pytest
import torch

from mimii_pl.dataset._clip import Batch
from mimii_pl.model._embedding_cache import EmbeddingCache
from mimii_pl.model.pretrained import Pretrained


class Doubling:
    """An embedding of two windows that counts the clips it is asked for."""

    def __init__(self):
        self.clips = 0

    def __call__(self, waves):
        self.clips += len(waves)
        return torch.stack([2 * waves[:, :3], -waves[:, :3]], dim=1)


@pytest.fixture
def waves():
    return torch.randn(6, 50, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def opened(tmp_path):
    caches = []

    def opening(network=b"one"):
        caches.append(EmbeddingCache(tmp_path / "embeddings.sqlite", lambda: network))
        return caches[-1]

    yield opening
    for cache in caches:
        cache.close()


def test_only_new_clips_are_computed_also_by_another_process(opened, waves):
    network = Doubling()
    first, second = opened(), opened()  # as of two processes
    assert torch.equal(first.complete(waves[:4], network), network(waves[:4]))
    network.clips = 0
    mixed = waves[[5, 1, 4, 1, 5]]  # clips twice in a batch, too
    assert torch.equal(second.complete(mixed, network), Doubling()(mixed))
    assert network.clips == 3  # 5, 4 and 5
    network.clips = 0
    assert torch.equal(first.complete(waves[[5, 0]], network), Doubling()(waves[[5, 0]]))
    assert network.clips == 0


def test_networks_do_not_share_embeddings(opened, waves):
    opened(b"one").complete(waves, Doubling())
    assert torch.equal(opened(b"other").complete(waves, lambda x: x[:, None, :2]), waves[:, None, :2])


def test_a_damaged_file_costs_a_warning_and_no_result(tmp_path, opened, waves, caplog):
    (tmp_path / "embeddings.sqlite").write_bytes(b"no database" * 200)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(opened().complete(waves, Doubling()), Doubling()(waves))
    assert "embeddings.sqlite cannot be used (file is not a database)" in caplog.text


def test_a_full_disk_leaves_what_was_there(opened, waves, caplog):
    cache = opened()
    cache.complete(waves, Doubling())
    pages = cache.file.execute("PRAGMA page_count").fetchone()[0]
    cache.file.execute(f"PRAGMA max_page_count = {pages}")
    many = torch.randn(500, 50)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cache.complete(many, Doubling()), Doubling()(many))
    assert "cannot be used (database or disk is full)" in caplog.text
    network = Doubling()
    again = opened()
    again.complete(waves, network)
    assert network.clips == 0
    again.complete(many, network)
    assert network.clips == len(many)  # none of the batch that was not added as a whole


def test_a_detector_embeds_a_clip_once(tmp_path, monkeypatch):
    def made(**options):
        torch.manual_seed(0)
        return Pretrained((1, 1, 1), 1, weights="random", **options).eval()

    def computed(model, precision=None):
        """Embed in a block with a cache; return how many clips were computed."""
        clips = []
        monkeypatch.setattr(model, "_embed", lambda wave: clips.append(len(wave)) or type(model)._embed(model, wave))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"), model.keep_embeddings(tmp_path):
            assert torch.equal(model.embed(batch), model.embed(batch))
        return sum(clips)

    wave, ids = 0.1 * torch.randn(2, 8000), torch.zeros(2, dtype=torch.long)
    batch = Batch(wave, ids, ids - 1, ids)
    plain = made()
    expected = plain.embed(batch)
    assert computed(plain, "bf16") == 4  # neither kept nor taken from what float32 gave
    assert computed(plain) == 2
    with plain.keep_embeddings(tmp_path):
        assert torch.equal(plain.embed(batch), expected)
    assert computed(made()) == 0
    assert computed(made(pool="max")) == 2
    other = made()
    other.network.blocks[0].conv1.weight[0] += 1
    assert computed(other) == 2
