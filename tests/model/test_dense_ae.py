"""The official auto-encoder: published weights give the published scores."""

import numpy as np
import pytest
import soundfile
import torch

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.features.log_mel import LogMel
from mimii_pl.model.dense_ae import DenseAE


def with_published_weights(path) -> DenseAE:
    """Load the layers of the file in order: dense kernels [in, out], each but the last followed by a batch norm."""
    with np.load(path, allow_pickle=False) as file:
        weights = dict(file)
    model = DenseAE((1, 128, 313), 1, frame_range=[50, 250])
    number = {"dense": 0, "batch_normalization": 0}

    def take(kind: str, part: str) -> torch.Tensor:
        suffix = f"_{number[kind]}" if number[kind] else ""
        return torch.from_numpy(weights[f"{kind}{suffix}/{part}"])

    for layer in [*model.encoder, *model.decoder]:
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data, layer.bias.data = take("dense", "kernel").T, take("dense", "bias")
            number["dense"] += 1
        elif isinstance(layer, torch.nn.BatchNorm1d):
            layer.weight.data, layer.bias.data = (
                take("batch_normalization", "gamma"),
                take("batch_normalization", "beta"),
            )
            layer.running_mean = take("batch_normalization", "moving_mean")
            layer.running_var = take("batch_normalization", "moving_variance")
            number["batch_normalization"] += 1
    return model.eval()


@pytest.mark.parametrize(("clip", "score"), [("normal", 9.4912904), ("anomaly", 9.8880862)])
def test_published_weights_give_the_published_score(shared, clip, score):
    model = with_published_weights(shared / "reference" / "dcase2020_ae_toycar" / "weights.npz")
    path = shared / "real" / "dcase2020" / "ToyCar" / "test" / f"{clip}_id_01_00000000.flac"
    wave, rate = soundfile.read(path, dtype="float32")
    spec = LogMel(sample_rate=rate)(torch.from_numpy(wave)[None])
    one = torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        assert model.score(Batch(wave, one, one, one, spec)).item() == pytest.approx(score, abs=1e-4)


def test_windows_are_consecutive_frames_one_after_the_other():
    model = DenseAE((1, 3, 10), 1, frames=4)
    spec = torch.arange(30.0).view(1, 1, 3, 10)
    windows = model.windows(Batch(spec, None, None, None, spec))
    assert windows.shape == (1, 7, 12)
    assert windows[0, 2].tolist() == spec[0, 0, :, 2:6].T.flatten().tolist()


def test_the_window_batch_is_the_baselines():
    model = DenseAE((1, 128, 313), 1)
    assert (model.crop.frames - 4) * 32 == 256


def test_the_frame_range_limits_scoring_and_training():
    model = DenseAE((1, 8, 40), 1, frame_range=[10, 30]).eval()
    spec = torch.randn(1, 1, 8, 40)
    changed = spec.clone()
    changed[..., :10], changed[..., 30:] = 99, 99
    whole = [Batch(s, None, None, None, s) for s in (spec, changed)]
    assert model.score(whole[0]).item() == model.score(whole[1]).item()
    assert model.crop.room(40) == (10, 20)


def test_clips_shorter_than_a_window_are_an_error():
    with pytest.raises(InputError, match="shorter than one window"):
        DenseAE((1, 128, 4), 1)
