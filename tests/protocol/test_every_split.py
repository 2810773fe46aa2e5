"""Every data set under every protocol: no clip, and no recording, is on two sides, and no anomaly is learned from,
but by classifiers."""

import pytest
from support import imitation, world

from mimii_pl.core.config import CONF, build_data
from mimii_pl.core.errors import InputError

DATA = {
    **{name: (machine, archives) for name, (archives, _, machine, _) in imitation.DCASE.items()},
    "dcase": ("fan", imitation.dcase2020()),
    "mimii": ("fan", {"6_dB_fan.zip": {f"6_dB_fan/{name}": data for name, data in imitation.mimii().items()}}),
    "folder": (
        "press",
        {"": imitation.wavs(f"p{p}/{c}/{n}.wav" for p in (1, 2) for c, k in (("ok", 9), ("ng", 3)) for n in range(k))},
    ),
    "table": ("press", {"": imitation.wavs(f"p{p}_{n}.wav" for p in (1, 2) for n in range(18))}),
    "synthetic": ("fan", {}),
}
PROTOCOLS = ["official", "mimii", "holdout", "cross_validation", "leave_one_id_out", "stratified"]
TABLE = "path,label,id,split\n" + "".join(
    f"p{p}_{n}.wav,{int(n >= 12)},p{p},{'test' if n >= 9 else 'train'}\n" for p in (1, 2) for n in range(18)
)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """data set -> where its imitation is, made when first asked for."""
    made = {}

    def root(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "data"
            for archive, files in DATA[name][1].items():
                if not archive.startswith("eval"):
                    imitation.unpacked(files, made[name])
            if name == "table":
                (made[name] / "label.csv").write_text(TABLE)
        return made[name]

    return root


def test_no_data_set_and_no_protocol_is_forgotten():
    assert set(DATA) == {path.stem for path in (CONF / "dataset").glob("[!_]*.yaml")}
    assert set(PROTOCOLS) == {path.stem for path in (CONF / "protocol").glob("[!_]*.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", DATA)
def test_no_clip_is_on_two_sides(roots, name, protocol):
    machine = DATA[name][0]
    options = [f"dataset={name}", f"machine={machine}", f"protocol={protocol}", "model=dense_ae"]
    if name == "synthetic":
        options += ["dataset.train_clips=8", "dataset.test_clips=6", "dataset.clip_seconds=0.25"]
    elif name not in ("folder", "table"):
        options += ["dataset.download=false"]
    if protocol == "cross_validation":
        options += ["protocol.folds=2"]
    if protocol == "stratified":
        options += ["task=classification", "protocol.folds=3"]
    data = build_data(world.configured(roots(name), *options))
    data.prepare_data()
    one_section = name in ("dcase2023", "dcase2024", "dcase2025", "dcase2026")
    if (name, protocol) == ("folder", "official") or (one_section and protocol == "leave_one_id_out"):
        with pytest.raises(InputError, match=r"publishes no split|has 1 IDs"):
            data.setup()
        return
    data.setup()
    rows = {split: set(data.rows(split)) for split in ("train", "validation", "test")}
    assert rows["train"]
    assert rows["validation"]
    assert rows["test"]
    where = {}
    for clip in data.clips:
        where.setdefault(clip.path.resolve(), []).append(clip.split)
        where.setdefault(clip.recording, []).append(clip.split)
    assert all(len(set(splits)) == 1 for splits in where.values())
    assert len({clip.path for clip in data.clips}) == len(data.clips)
    learned = {"normal", "anomaly"} if protocol == "stratified" else {"normal"}
    for split in ("train", "validation"):
        assert {data.clips[row].condition for row in rows[split]} == learned
    if protocol == "leave_one_id_out":
        assert {data.clips[row].label for row in rows["test"]}.isdisjoint(data.labels)
