"""Small imitations of the public data sets: names and folders to the letter, a tenth of a second of noise each."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
Files = dict[str, bytes]  # path in the data set -> content


def wav(name: str, channels: int = 1) -> bytes:
    """Noise that is the file's own."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    file = io.BytesIO()
    soundfile.write(file, 0.1 * rng.standard_normal((RATE // 10, channels)), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def wavs(names: Iterator[str], channels: int = 1) -> Files:
    return {name: wav(name, channels) for name in names}


def zipped(files: Files) -> bytes:
    """An archive of these files, as their record would hold it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def unpacked(files: Files, root: Path) -> Path:
    """The files on disk."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


# --- DCASE 2020 ------------------------------------------------------------------------------------------------------
def dcase2020(machine: str = "fan") -> dict[str, Files]:
    """archive -> files: IDs 00 and 02 (development), 01 (evaluation)."""
    dev = [f"{machine}/train/normal_id_{i}_{n:08d}.wav" for i in ("00", "02") for n in range(5)]
    dev += [
        f"{machine}/test/{c}_id_{i}_{n:08d}.wav" for i in ("00", "02") for c in ("normal", "anomaly") for n in (0, 1)
    ]
    return {
        f"dev_data_{machine}.zip": wavs(dev),
        f"eval_data_train_{machine}.zip": wavs(f"{machine}/train/normal_id_01_{n:08d}.wav" for n in range(5)),
        f"eval_data_test_{machine}.zip": wavs(f"{machine}/test/id_01_{n:08d}.wav" for n in range(4)),
    }


DCASE2020_LIST = """fan
id_01_00000000.wav,normal_id_01_00000098.wav,0
id_01_00000001.wav,anomaly_id_01_00000064.wav,1
id_01_00000002.wav,anomaly_id_01_00000158.wav,1
id_01_00000003.wav,normal_id_01_00000012.wav,0
"""


# --- sections, since 2021 --------------------------------------------------------------------------------------------
def trained(machine: str, section: str, attributes: str, source: int = 5, target: int = 2) -> list[str]:
    return [
        f"{machine}/train/section_{section}_{domain}_train_normal_{n:04d}_{attributes}.wav"
        for domain, count in (("source", source), ("target", target))
        for n in range(count)
    ]


def evaluated(machine: str, section: str, attributes: str = "", folder: str = "test") -> list[str]:
    return [
        f"{machine}/{folder.format(domain=domain)}/section_{section}_{domain}_test_{condition}_{n:04d}{attributes}.wav"
        for domain in ("source", "target")
        for condition in ("normal", "anomaly")
        for n in range(2)
    ]


def dcase2021(machine: str = "fan") -> dict[str, Files]:
    unlabelled = [
        f"{machine}/{domain}_test/section_03_{domain}_test_{n:04d}.wav"
        for domain in ("source", "target")
        for n in range(4)
    ]
    dev = [name for section in ("00", "01") for name in trained(machine, section, "strenght_1_ambient")]
    dev += [name for section in ("00", "01") for name in evaluated(machine, section, folder="{domain}_test")]
    return {
        f"dev_data_{machine}.zip": wavs(dev),
        f"eval_data_{machine}_train.zip": wavs(trained(machine, "03", "strenght_1_ambient")),
        f"eval_data_{machine}_test.zip": wavs(unlabelled),
    }


DCASE2021_LIST = "fan\n" + "".join(
    f"section_03_{domain}_test_{n:04d}.wav,section_03_{domain}_test_{'anomaly' if n % 2 else 'normal'}_{n:04d}.wav\n"
    for domain in ("source", "target")
    for n in range(4)
)


def attributes_csv(files: Files, folder: str, *columns: str) -> bytes:
    """`attributes_00.csv` of a machine type: the values are those of the names."""
    head = ["file_name", *(f"d{n}{what}" for n in range(1, len(columns) + 1) for what in "pv")]
    rows = [[name, *(cell for pair in zip(columns, ["7"] * 9, strict=False) for cell in pair)] for name in files]
    return "\n".join(",".join(row) for row in [head, *rows]).encode()


def dcase2022(machine: str = "bearing") -> dict[str, Files]:
    dev = wavs(
        name for s in ("00", "01") for name in [*trained(machine, s, "vel_21"), *evaluated(machine, s, "_vel_25")]
    )
    dev |= {f"{machine}/attributes_00.csv": attributes_csv([n for n in dev if "section_00" in n], machine, "vel")}
    return {
        f"dev_{machine}.zip": dev,
        f"eval_data_{machine}_train.zip": wavs(trained(machine, "03", "vel_9")),
        f"eval_data_{machine}_test.zip": wavs(f"{machine}/test/section_03_{n:04d}.wav" for n in range(8)),
    }


DCASE2022_LIST = "bearing\n" + "".join(
    f"section_03_{n:04d}.wav,section_03_{'target' if n >= 4 else 'source'}_test_"
    f"{'anomaly' if n % 2 else 'normal'}_{n:04d}_vel_{n}.wav\n"
    for n in range(8)
)


def first_shot(
    dev: str, eval_: str, *, suffix: str = "", supplemental: bool = False, channels: int = 1
) -> dict[str, Files]:
    """2023 and later: one section, other machine types in the evaluation set."""
    files = wavs([*trained(dev, "00", "spd_3_mic_1"), *evaluated(dev, "00", "_spd_3_mic_1")], channels)
    learned = wavs(trained(eval_, "00", "noAttribute"), channels)
    if supplemental:
        learned |= wavs(f"{eval_}/supplemental/section_00_source_supplemental_machine_{n:04d}.wav" for n in range(3))
        files |= wavs(f"{dev}/supplemental/section_00_noise_supplemental_normal_{n:04d}.wav" for n in range(3))
    return {
        f"dev_{dev}.zip": files,
        f"eval_data_{eval_}_train{suffix}.zip": learned,
        f"eval_data_{eval_}_test.zip": wavs((f"{eval_}/test/section_00_{n:04d}.wav" for n in range(8)), channels),
    }


def mimii(machine: str = "fan") -> Files:
    """Return the files of one archive of MIMII, without the SNR in its paths; eight channels."""
    return wavs(
        (
            f"{machine}/id_{i}/{condition}/{n:08d}.wav"
            for i in ("00", "02")
            for condition, count in (("normal", 8), ("abnormal", 3))
            for n in range(count)
        ),
        channels=8,
    )


# --- all of them -----------------------------------------------------------------------------------------------------
DCASE = {  # data set -> archives, labels of the evaluation clips, development and evaluation machine type
    "dcase2020": (dcase2020(), DCASE2020_LIST, "fan", "fan"),
    "dcase2021": (dcase2021(), DCASE2021_LIST, "fan", "fan"),
    "dcase2022": (dcase2022(), DCASE2022_LIST, "bearing", "bearing"),
    "dcase2023": (first_shot("gearbox", "bandsaw"), None, "gearbox", "bandsaw"),
    "dcase2024": (first_shot("slider", "3DPrinter", suffix="_r2"), None, "slider", "3DPrinter"),
    "dcase2025": (first_shot("ToyCar", "AutoTrash", supplemental=True), None, "ToyCar", "AutoTrash"),
    "dcase2026": (first_shot("gearboxEmu", "Sander", channels=2), None, "gearboxEmu", "Sander"),
    "mimii_due": (dcase2021("pump"), None, "pump", "pump"),
    "mimii_dg": ({"fan.zip": dcase2022("fan")["dev_fan.zip"]}, None, "fan", "fan"),
}
