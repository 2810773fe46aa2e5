"""BEATs and EAT: equal to their definitions computed step by step, and read under the names of their authors."""

import math

import numpy as np
import pytest
import torch
from scipy.special import erf, expit, softmax

from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._beats import BEATs, distance_buckets
from mimii_pl.model._eat import EAT, grid_positions
from mimii_pl.model._embedders import EMBEDDERS
from mimii_pl.model._weights import convert, load_weights, read_weights
from mimii_pl.model.pretrained import Pretrained

SIZE, HEADS, DEPTH, PATCH_SIZE, STEPS = 32, 4, 2, 24, 12
PLACE = "encoder.layers.1.self_attn.relative_attention_bias.weight"


class SmallBEATs(BEATs):
    def __init__(self):
        super().__init__(SIZE, HEADS, DEPTH, 16 * STEPS, PATCH_SIZE)


class SmallEAT(EAT):
    def __init__(self):
        super().__init__(SIZE, HEADS, DEPTH, 16 * STEPS)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The networks with few values: those of the authors take seconds to make."""
    monkeypatch.setitem(EMBEDDERS, "beats", SmallBEATs)
    monkeypatch.setitem(EMBEDDERS, "eat", SmallEAT)


def randomly(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    return {name: torch.from_numpy(rng.normal(0, 0.2, shape).astype(np.float32)) for name, shape in shapes.items()}


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def normed(name: str, size: int = SIZE) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def beats_weights() -> dict[str, torch.Tensor]:
    """Random weights as the authors of BEATs name them; each layer holds the biases of the first."""
    shapes = {"patch_embedding.weight": (PATCH_SIZE, 1, 16, 16), **normed("layer_norm", PATCH_SIZE)}
    shapes |= linear("post_extract_proj", PATCH_SIZE, SIZE) | normed("encoder.layer_norm")
    shapes |= {"encoder.pos_conv.0.bias": (SIZE,), "encoder.pos_conv.0.weight_g": (1, 1, 128)}
    shapes |= {"encoder.pos_conv.0.weight_v": (SIZE, SIZE // 16, 128)}
    for layer in (f"encoder.layers.{number}" for number in range(DEPTH)):
        for name in "qkv":
            shapes |= linear(f"{layer}.self_attn.{name}_proj", SIZE, SIZE)
        shapes |= linear(f"{layer}.self_attn.out_proj", SIZE, SIZE)
        shapes |= linear(f"{layer}.self_attn.grep_linear", SIZE // HEADS, 8)
        shapes |= {f"{layer}.self_attn.grep_a": (1, HEADS, 1, 1)}
        shapes |= {f"{layer}.self_attn.relative_attention_bias.weight": (320, HEADS)}
        shapes |= normed(f"{layer}.self_attn_layer_norm") | normed(f"{layer}.final_layer_norm")
        shapes |= linear(f"{layer}.fc1", SIZE, 4 * SIZE) | linear(f"{layer}.fc2", 4 * SIZE, SIZE)
    state = randomly(shapes)
    state[PLACE] = state[PLACE.replace("layers.1", "layers.0")].clone()
    return state


def eat_weights() -> dict[str, torch.Tensor]:
    """Random weights as the authors of EAT name them on the hub, with the fixed positions of longer clips."""
    shapes = {"model.local_encoder.proj.weight": (SIZE, 1, 16, 16), "model.local_encoder.proj.bias": (SIZE,)}
    shapes |= {"model.extra_tokens": (1, 1, SIZE)} | normed("model.pre_norm")
    for block in (f"model.blocks.{number}" for number in range(DEPTH)):
        shapes |= linear(f"{block}.attn.qkv", SIZE, 3 * SIZE) | linear(f"{block}.attn.proj", SIZE, SIZE)
        shapes |= linear(f"{block}.mlp.fc1", SIZE, 4 * SIZE) | linear(f"{block}.mlp.fc2", 4 * SIZE, SIZE)
        shapes |= normed(f"{block}.norm1") | normed(f"{block}.norm2")
    positions = torch.from_numpy(positions_by_definition(20, 8, SIZE)).float()[None]
    return randomly(shapes) | {"model.fixed_positional_encoder.positions": positions}


# --- by definition, in float64 and one token, head and distance after the other --------------------------------------
def gelu(x):
    return 0.5 * x * (1 + erf(x / 2**0.5))


class Weights:
    def __init__(self, state, eps):
        self.of, self.eps = {name: value.double().numpy() for name, value in state.items()}, eps

    def linear(self, name, x):
        return x @ self.of[f"{name}.weight"].T + self.of[f"{name}.bias"]

    def norm(self, name, x):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.eps)
        return scaled * self.of[f"{name}.weight"] + self.of[f"{name}.bias"]


def patches_of(spectrum, kernel):
    """Project the patches of a spectrum [N, 128], those of one time after the other, with a kernel [D, 1, 16, 16]."""
    parts = [spectrum[t : t + 16, f : f + 16] for t in range(0, len(spectrum) - 15, 16) for f in range(0, 128, 16)]
    return np.stack([(kernel[:, 0] * part).sum(axis=(1, 2)) for part in parts])


def bucket(distance):
    """Bucket of a key that is so many tokens after a query: 160 for each sign, 80 of them for one distance each."""
    size = abs(distance)
    if size >= 80:
        size = min(159, 80 + int(math.log(size / 80) / math.log(800 / 80) * 80))
    return size + (160 if distance > 0 else 0)


def beats_by_definition(state, spectrum):
    w = Weights(state, 1e-5)
    x = w.linear("post_extract_proj", w.norm("layer_norm", patches_of(spectrum, w.of["patch_embedding.weight"])))
    tokens = len(x)
    gain, direction = w.of["encoder.pos_conv.0.weight_g"][0, 0], w.of["encoder.pos_conv.0.weight_v"]
    kernel = gain * direction / np.sqrt((direction**2).sum(axis=(0, 1)))  # [out, in of its group, 128]
    near = np.tile(w.of["encoder.pos_conv.0.bias"], (tokens, 1))
    each = SIZE // 16
    for token in range(tokens):
        for tap in range(128):
            if 0 <= (source := token + tap - 64) < tokens:
                for group in range(0, SIZE, each):
                    near[token, group : group + each] += (
                        kernel[group : group + each, :, tap] @ x[source, group : group + each]
                    )
    x = w.norm("encoder.layer_norm", x + gelu(near))
    table = w.of["encoder.layers.0.self_attn.relative_attention_bias.weight"]
    buckets = np.array([[bucket(key - query) for key in range(tokens)] for query in range(tokens)])
    outputs, gain, width = [], (2 * DEPTH) ** 0.25, SIZE // HEADS
    for layer in (f"encoder.layers.{number}" for number in range(DEPTH)):
        query, key, value = (w.linear(f"{layer}.self_attn.{name}_proj", x) for name in "qkv")
        heads = []
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            gates = w.linear(f"{layer}.self_attn.grep_linear", query[:, part])
            first, second = expit(gates[:, :4].sum(axis=1)), expit(gates[:, 4:].sum(axis=1))
            weight = first * (second * w.of[f"{layer}.self_attn.grep_a"][0, head, 0, 0] - 1) + 2
            logits = query[:, part] @ key[:, part].T / width**0.5 + weight[:, None] * table[buckets, head]
            heads.append(softmax(logits, axis=1) @ value[:, part])
        attended = w.linear(f"{layer}.self_attn.out_proj", np.concatenate(heads, axis=1))
        x = w.norm(f"{layer}.self_attn_layer_norm", gain * x + attended)
        x = w.norm(f"{layer}.final_layer_norm", gain * x + w.linear(f"{layer}.fc2", gelu(w.linear(f"{layer}.fc1", x))))
        outputs.append(x)
    return outputs


def positions_by_definition(steps, rows, size):
    def waves(place):
        angles = [place / 10_000 ** (number / (size // 4)) for number in range(size // 4)]
        return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]

    return np.array([waves(row) + waves(step) for step in range(steps) for row in range(rows)])


def eat_by_definition(state, spectrum):
    w = Weights({name.removeprefix("model."): value for name, value in state.items()}, 1e-6)
    x = patches_of(spectrum, w.of["local_encoder.proj.weight"]) + w.of["local_encoder.proj.bias"]
    x = x + positions_by_definition(len(x) // 8, 8, SIZE)
    x = w.norm("pre_norm", np.concatenate([w.of["extra_tokens"][0], x]))
    outputs, width = [], SIZE // HEADS
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        query, key, value = np.split(w.linear(f"{block}.attn.qkv", x), 3, axis=1)
        heads = []
        for head in range(HEADS):
            part = slice(head * width, (head + 1) * width)
            heads.append(softmax(query[:, part] @ key[:, part].T / width**0.5, axis=1) @ value[:, part])
        x = w.norm(f"{block}.norm1", x + w.linear(f"{block}.attn.proj", np.concatenate(heads, axis=1)))
        x = w.norm(f"{block}.norm2", x + w.linear(f"{block}.mlp.fc2", gelu(w.linear(f"{block}.mlp.fc1", x))))
        outputs.append(x[1:])
    return outputs


@pytest.mark.parametrize(
    ("network", "weights", "definition"),
    [(SmallBEATs, beats_weights, beats_by_definition), (SmallEAT, eat_weights, eat_by_definition)],
)
@pytest.mark.parametrize("frames", [16 * STEPS, 5 * 16 + 9])  # of a window, and of a shorter clip
def test_maps_are_those_of_the_definition(network, weights, definition, frames):
    state, ours = weights(), network().eval()
    load_weights(ours, ours.own_names(state), "x")
    spectrum = torch.randn(2, frames, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        last, first = ours.maps(spectrum, [-1, 0])
    assert last.shape == (2, frames // 16, 8, SIZE)
    for number in range(2):
        expected = definition(state, spectrum[number].double().numpy())
        np.testing.assert_allclose(last[number].flatten(0, 1), expected[-1], atol=2e-5)
        np.testing.assert_allclose(first[number].flatten(0, 1), expected[0], atol=2e-5)


def test_distances_are_exact_then_logarithmic_then_shared():
    distances = torch.arange(-900, 901)
    assert distance_buckets(distances, 320, 800).tolist() == [bucket(distance) for distance in distances.tolist()]


def test_positions_are_sines_and_cosines_of_row_and_step():
    np.testing.assert_allclose(grid_positions(64, 8, 768), positions_by_definition(64, 8, 768), atol=1e-5)


def bank_by_definition(wave, window):
    """Kaldi's log-mel filter bank of a waveform at 16 kHz, one frame after the other, [N, 128]."""
    low, high = (1127 * math.log(1 + edge / 700) for edge in (20, 8000))
    edges = np.linspace(low, high, 130)
    mel = 1127 * np.log(1 + np.arange(256) * 16000 / 512 / 700)
    rising, falling = ((mel - edges[:-2, None]), (edges[2:, None] - mel)) / np.diff(edges)[0]
    filters = np.maximum(0, np.minimum(rising, falling))  # [128, 256]
    frames = []
    for start in range(0, len(wave) - 399, 160):
        frame = wave[start : start + 400] - wave[start : start + 400].mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        power = np.abs(np.fft.rfft(frame * window, 512)[:256]) ** 2
        frames.append(np.log(np.maximum(filters @ power, np.finfo(np.float32).eps)))
    return np.array(frames)


def test_filter_banks_are_those_of_their_training():
    wave = 0.1 * torch.randn(1, 2000, generator=torch.Generator().manual_seed(0)) + 0.05
    samples, hann = wave[0].double().numpy(), np.hanning(400)
    povey = bank_by_definition(32768 * samples, hann**0.85)
    np.testing.assert_allclose(SmallBEATs().spectrum(wave)[0], (povey - 15.41663) / (2 * 6.55582), atol=1e-3)
    expected = (bank_by_definition(samples, hann) + 4.268) / (2 * 4.569)
    np.testing.assert_allclose(SmallEAT().spectrum(wave)[0], expected, atol=1e-3)


# --- reading ---------------------------------------------------------------------------------------------------------
def beats_checkpoint(**cfg):
    return {"cfg": {**BEATs.settings, "encoder_layerdrop": 0.05} | cfg, "model": beats_weights()}


def test_the_checkpoint_of_beats_is_converted(tmp_path):
    pytest.importorskip("safetensors", reason="the extra `pretrained` is not installed")
    checkpoint = beats_checkpoint(finetuned_model=True)
    checkpoint["model"]["predictor.weight"] = torch.zeros(2, SIZE)
    torch.save(checkpoint, tmp_path / "theirs.pt")
    path = convert(input=str(tmp_path / "theirs.pt"), network="beats", output=str(tmp_path / "beats.safetensors"))
    state = read_weights(str(path), None, "beats")
    assert state.keys() == SmallBEATs().state_dict().keys()
    assert torch.equal(state["distances.weight"], checkpoint["model"][PLACE])


@pytest.mark.parametrize(("name", "value"), [("max_distance", 1280), ("deep_norm", False), ("layer_norm_first", True)])
def test_a_checkpoint_with_other_settings_is_refused(tmp_path, name, value):
    torch.save(beats_checkpoint(**{name: value}), tmp_path / "other.pt")
    with pytest.raises(InputError, match=rf"its cfg has {name}={value}, but network=beats is built with"):
        convert(input=str(tmp_path / "other.pt"), network="beats", output=str(tmp_path / "x.safetensors"))


def test_weights_that_are_not_known_are_refused():
    state = beats_weights()
    for unknown in ({PLACE: state[PLACE] + 1}, {"quantize.embedding.weight": torch.zeros(2, 2)}):
        with pytest.raises(InputError, match=r"has unknown .*: are they of another network"):
            load_weights(SmallBEATs(), BEATs.own_names(state | unknown), "x")
    learned = {"model.fixed_positional_encoder.positions": torch.zeros(1, 160, SIZE)}
    with pytest.raises(InputError, match=r"has unknown fixed_positional_encoder\.positions"):
        load_weights(SmallEAT(), EAT.own_names(eat_weights() | learned), "x")


# --- embedding -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("network", ["beats", "eat"])
def test_shorter_clips_are_not_padded_and_longer_ones_divided(network):
    torch.manual_seed(0)
    model = Pretrained((1, 1, 1), 1, network=network, weights="random").eval()

    def embed(seconds):
        wave = 0.1 * torch.randn(2, int(16000 * seconds), generator=torch.Generator().manual_seed(0))
        ids = torch.zeros(2, dtype=torch.long)
        return wave, model.embed(Batch(wave, ids, ids - 1, ids))

    wave, short = embed(0.5)  # 48 frames: 3 steps
    maps = model.network.maps(model.network.spectrum(wave), [-1])[0]
    assert maps.shape == (2, 3, 8, SIZE)
    torch.testing.assert_close(short[:, 0], maps.mean(dim=(1, 2)))
    assert embed(0.1)[1].shape == (2, 1, SIZE)  # 8 frames, padded to a patch
    assert embed(5.0)[1].shape == (2, 5, SIZE)  # 498 frames by 192, half overlapping; the last ends with the clip
