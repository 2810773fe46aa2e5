"""Networks of others: equal to the originals, read without code, pooled by definition, stored with the run."""

import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from support import world
from support.spectra import librosa_mel

from mimii_pl import load
from mimii_pl.core.config import compose
from mimii_pl.core.errors import InputError
from mimii_pl.dataset._clip import Batch
from mimii_pl.model._embedders import AISFX, AST
from mimii_pl.model._weights import convert, load_weights, read_weights, sha256_of
from mimii_pl.model.pretrained import Pretrained, pool_time
from mimii_pl.rerun import rescore
from mimii_pl.run import run

COMMIT = 40 * "a"


def batch(seconds=3.0, clips=2, seed=0):
    wave = 0.1 * torch.randn(clips, int(16000 * seconds), generator=torch.Generator().manual_seed(seed))
    ids = torch.zeros(clips, dtype=torch.long)
    return Batch(wave, ids, ids - 1, ids)


@pytest.fixture(scope="session")
def safetensors():
    return pytest.importorskip("safetensors.torch", reason="the extra `pretrained` is not installed")


@pytest.fixture(scope="session")
def weights(tmp_path_factory, safetensors):
    """Random weights of the small network, as its authors name them, with a classifier that is not used."""
    torch.manual_seed(0)
    state = {name: value for name, value in AISFX().state_dict().items() if "tracked" not in name}
    theirs = {f"embedding_net.conv_block{int(name[7]) + 1}{name[8:]}": value for name, value in state.items()}
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    safetensors.save_file(theirs | {"fc.0.0.weight": torch.zeros(2, 2)}, path)
    return path


# --- equal to the originals ------------------------------------------------------------------------------------------
def test_a_small_ast_equals_that_of_transformers(tmp_path, safetensors):
    transformers = pytest.importorskip("transformers", reason="transformers, the second implementation, is not there")
    torch.manual_seed(0)
    options = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    theirs = transformers.ASTForAudioClassification(transformers.ASTConfig(max_length=128, **options)).eval()
    for value in theirs.parameters():
        torch.nn.init.normal_(value, std=0.2)
    theirs.save_pretrained(tmp_path)
    ours = AST(32, 4, 2, 128).eval()
    load_weights(ours, AST.own_names(safetensors.load_file(tmp_path / "model.safetensors")), "x")
    windows = torch.randn(2, 128, 128)
    hidden = theirs.audio_spectrogram_transformer(windows, output_hidden_states=True)
    last, first = ours.maps(windows, [-1, 0])
    assert last.shape == (2, 12, 12, 32)  # (128 - 16) // 10 + 1 steps and rows
    for maps, expected in ((last, hidden.last_hidden_state), (first, hidden.hidden_states[1])):
        rows_first = expected[:, 2:].unflatten(1, (12, 12))
        torch.testing.assert_close(maps.transpose(1, 2), rows_first, rtol=1e-4, atol=1e-4)


def test_the_filter_bank_of_ast_is_that_of_its_extractor():
    transformers = pytest.importorskip("transformers", reason="transformers, the second implementation, is not there")
    wave = batch(2.0).wave
    extractor = transformers.ASTFeatureExtractor(max_length=198)
    expected = extractor(list(wave.numpy()), sampling_rate=16000, return_tensors="pt").input_values
    torch.testing.assert_close(AST(32, 4, 1).spectrum(wave), expected, rtol=1e-4, atol=1e-4)


def original_aisfx() -> tuple[Path, torch.nn.Module]:
    """The wheel of aisfx, if it is there: its weights, and the network by its own code."""
    spec = importlib.util.find_spec("aisfx")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no real weights: pip install --no-deps aisfx (its bounds exclude the numpy that is needed here)")
    folder = Path(spec.submodule_search_locations[0]) / "models"
    code = importlib.util.spec_from_file_location("aisfx_cnn2d", folder / "cnn2d.py")
    module = importlib.util.module_from_spec(code)
    code.loader.exec_module(module)
    return folder / "checkpoint.pth", module.EmbeddingNet("max", 3, 1, 64).eval()


def test_real_weights_give_the_embeddings_of_their_own_code(tmp_path, safetensors, capsys):
    """The weights of aisfx (CC BY 4.0) through convert, sha256 and the detector, against the package and librosa."""
    checkpoint, theirs = original_aisfx()
    path = convert(input=str(checkpoint), network="aisfx", output=str(tmp_path / "aisfx.safetensors"))
    assert sha256_of(path) in capsys.readouterr().out
    stored = safetensors.load_file(path)
    theirs.load_state_dict({f"conv_block{int(name[7]) + 1}{name[8:]}": value for name, value in stored.items()})
    wave = 0.1 * np.sin(2 * np.pi * 440 * np.arange(round(2.4 * 44100)) / 44100)
    model = Pretrained((1, 1, 1), 1, weights=str(path), sha256=sha256_of(path), pool="max", sample_rate=44100).eval()
    model.setup("fit")
    ours = model.embed(Batch(torch.from_numpy(wave).float()[None], *[torch.zeros(1, dtype=torch.long)] * 3))
    bank = {"n_mels": 96, "norm": 1.0, "fmin": 0, "fmax": 22050, "htk": True}
    mel = librosa_mel(wave / np.abs(wave).max(), 44100, n_fft=2048, hop=1024, pad_mode="constant", **bank)
    spectrum = torch.from_numpy(np.log10(10_000 * mel + 1).T / 9.457798957824707)[None, :100].float()
    with torch.no_grad():
        expected = theirs(spectrum)
    torch.testing.assert_close(ours[0, :1], expected, rtol=1e-2, atol=1e-2)


# --- reading ---------------------------------------------------------------------------------------------------------
def test_weights_are_read_and_classifiers_left_out(weights):
    state = read_weights(str(weights), sha256_of(weights), "aisfx")
    network = AISFX()
    load_weights(network, state, "x")
    torch.manual_seed(0)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in AISFX().state_dict().items())


def test_another_file_than_expected_is_not_read(weights):
    with pytest.raises(InputError, match=r"sha256 is [0-9a-f]{64}, not model.sha256=00"):
        read_weights(str(weights), "00", "aisfx")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("checkpoint.pth", r"only safetensors.*mimii convert input=checkpoint.pth network=aisfx"),
        ("nowhere.safetensors", "no such file"),
        ("hf:owner/repo", "all 40 digits"),
        ("hf:owner/repo@main", "all 40 digits"),
    ],
)
def test_what_cannot_be_read_is_explained(source, message):
    with pytest.raises(InputError, match=message):
        read_weights(source, None, "aisfx")


def test_the_hub_is_asked_for_one_commit_and_safetensors_alone(weights, monkeypatch):
    hub = pytest.importorskip("huggingface_hub", reason="the extra `pretrained` is not installed")
    asked = []
    monkeypatch.setattr(
        hub, "snapshot_download", lambda repo, **options: asked.append((repo, options)) or str(weights.parent)
    )
    assert read_weights(f"hf:owner/repo@{COMMIT}", None, "aisfx")
    assert asked == [("owner/repo", {"revision": COMMIT, "allow_patterns": ["*.safetensors"]})]


def test_a_hub_that_is_offline_is_named(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub", reason="the extra `pretrained` is not installed")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=rf"hf:owner/repo@{COMMIT}: not downloaded"):
        read_weights(f"hf:owner/repo@{COMMIT}", None, "aisfx")


def test_weights_of_another_network_are_refused():
    state = AISFX().state_dict()
    missing = dict(list(state.items())[1:])
    with pytest.raises(InputError, match=r"has no blocks.0.conv1.weight: are they"):
        load_weights(AISFX(), missing, "x")
    with pytest.raises(InputError, match="has unknown other"):
        load_weights(AISFX(), state | {"other": torch.zeros(1)}, "x")
    with pytest.raises(InputError, match=r"has other shapes of blocks.0.conv1.weight"):
        load_weights(AISFX(), state | {"blocks.0.conv1.weight": torch.zeros(1)}, "x")


class Hostile:
    """What a pickle may hold: a call on loading."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def test_a_checkpoint_with_code_is_not_converted(tmp_path, safetensors):
    place = tmp_path / "executed"
    torch.save({"weights": Hostile(place)}, tmp_path / "hostile.pt")
    with pytest.raises(InputError, match="not read, since it holds more than arrays"):
        convert(input=str(tmp_path / "hostile.pt"), network="aisfx", output=str(tmp_path / "x.safetensors"))
    assert not place.exists()
    torch.save(Hostile(place), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="not read"):
        convert(input=str(tmp_path / "old.pt"), network="aisfx", output=str(tmp_path / "x.safetensors"))
    assert not place.exists()


def test_checkpoints_with_numbers_beside_weights_are_converted(tmp_path, safetensors):
    torch.save((AISFX().state_dict(), {"accuracy": np.float64(0.5), "classes": np.int64(3)}), tmp_path / "a.pt")
    path = convert(input=str(tmp_path / "a.pt"), network="aisfx", output=str(tmp_path / "a.safetensors"))
    assert read_weights(str(path), None, "aisfx").keys() == AISFX.own_names(AISFX().state_dict()).keys()


# --- embedding -------------------------------------------------------------------------------------------------------
def test_pooling_by_its_definitions():
    x = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [-3.0, -4.0]]])
    torch.testing.assert_close(pool_time(x, "mean"), torch.zeros(1, 2))
    torch.testing.assert_close(pool_time(x, "max"), torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(pool_time(x, "gem", power=2.0), torch.tensor([[3.0, 4.0]]) / 3**0.5)
    weight = torch.tensor([1 + 3 / 5, 1 + 4 / 5, 2.0]) ** 2  # distances 3, 4 and 5 from the mean
    expected = (weight[:, None] * x[0]).sum(dim=0) / weight.sum()
    torch.testing.assert_close(pool_time(x, "rdp", gamma=2.0)[0], expected)
    torch.testing.assert_close(pool_time(x, "rdp", gamma=0.0), x.mean(dim=1))
    same = torch.ones(1, 4, 2)
    torch.testing.assert_close(pool_time(same, "rdp"), same[:, 0])


def test_windows_cover_the_clip_and_padding_is_not_pooled():
    torch.manual_seed(0)
    model = Pretrained((1, 1, 1), 1, weights="random").eval()
    assert model.embed(batch(5.0)).shape == (2, 4, 512)  # 216 frames of 100, half overlapping; the last ends with it
    assert model.embed(batch(0.5)).shape == (2, 1, 512)
    assert Pretrained((1, 1, 1), 1, weights="random", frequencies="keep").embed(batch(0.5)).shape == (2, 1, 12 * 512)
    windows = torch.randn(1, 100, 96)
    changed = windows.clone()
    changed[:, 88:] = 5.0
    torch.testing.assert_close(model._pooled(windows, 24), model._pooled(changed, 24))  # 3 steps of 8 frames
    assert not torch.allclose(model._pooled(windows, 100), model._pooled(changed, 100))


def test_layers_are_averaged_and_checked():
    network = AST(32, 4, 3, 64).eval()
    first, last = network.maps(torch.randn(1, 64, 128), [0, -1])
    assert first.shape == last.shape == (1, 5, 12, 32)
    with pytest.raises(InputError, match=r"model.layer=3: network=aisfx has layers 0 to 0"):
        Pretrained((1, 1, 1), 1, layer=3)


def test_without_weights_the_option_is_named():
    with pytest.raises(InputError, match=r"model.weights=<file>.safetensors or hf:"):
        Pretrained((1, 1, 1), 1).setup("fit")


@pytest.mark.slow
def test_a_run_has_its_weights_and_needs_no_file(tmp_path, weights, caplog):
    root = world.write(tmp_path / "world", train=8, test=3, seconds=1.0)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    cfg = world.configured(root, "model=pretrained", f"model.weights={moved}", f"model.sha256={sha256_of(moved)}")
    run(cfg, tmp_path / "run")
    moved.unlink()
    scorer = load(tmp_path / "run")
    network = AISFX()
    load_weights(network, read_weights(str(weights), None, "aisfx"), "x")
    assert torch.equal(scorer.detector.network.blocks[0].conv1.weight, network.blocks[0].conv1.weight)
    assert np.isfinite(scorer.score(sorted(root.rglob("test/*.wav"))[:2])).all()
    caplog.clear()
    overrides = [
        f"run={tmp_path / 'run'}",
        "backend=lof",
        "backend.pool=max",
        "report=none",
        "logger=none",
        "efficiency.seconds=0",
    ]
    with caplog.at_level(logging.INFO, "mimii_pl"):
        rescore(compose(overrides, "command/rescore"), tmp_path / "rescored")
    assert "embeddings: 0 computed" in caplog.text
