"""Score recordings with an exported model: `python score.py recordings/ --output scores.csv`.

Needs Python 3.11, numpy, soundfile and onnxruntime, and the files beside it. Recordings are prepared as in training:
decoded, resampled, rounded to 16 bits, shorter ones repeated. Longer ones are scored window by window; each window is
scored as if it were a recording of its own.
"""

import argparse
import csv
import hashlib
import json
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import soundfile

_SUFFIXES = (".wav", ".flac", ".wave", ".w64", ".rf64", ".aiff", ".aif", ".aifc", ".ogg", ".oga", ".opus", ".mp3")
_FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC", "OGG", "MP3")
_FULL_SCALE = 32768.0  # int16 value of amplitude 1
_RATES = range(1_000, 400_001)  # Hz
_UNKNOWN = 1 << 62  # frames: libsndfile gives such a number for a FLAC that does not say its length
_SHORTEST_CUT = 0.01  # s; lengths that differ by less count as equal
_FILTER_WIDTH, _ROLLOFF, _MAX_KERNEL = 6, 0.99, 1 << 20  # of the resampling filter
_OVERS, _HIGHEST_OVER = 0.001, 2.0  # share of samples beyond full scale that are clipped, and how high they may be
_UNSEEN = "all"  # thresholds of machine IDs without their own, and of unknown ones
ROW = ("file", "start", "machine_id", "score", "higher_than", "p_value", "decision", "skipped")  # columns of the CSV


class Unusable(Exception):  # noqa: N818  (always caught: one bad recording must not stop the others)
    """A recording, or a window of it, that cannot be scored, with the reason."""


class Verdict(NamedTuple):
    """Score of a clip and what follows from it.

    Attributes:
        score: higher is more anomalous.
        higher_than: share of the held-out normal clips of the machine ID with a lower score.
        p_value: (1 + number of held-out normal clips with this score or a higher one) / (1 + their number).
        anomalous: the score is above the threshold of the machine ID.
    """

    score: float
    higher_than: float
    p_value: float
    anomalous: bool


class ExportedScorer:
    """An exported model: clips in, scores and decisions out.

    Args:
        folder: that `mimii export` wrote.
        model: file to score with; `model.int8.onnx` where there is one.
        threads: of onnxruntime; None: one per core.

    Attributes:
        facts: the content of `model.json`.

    Raises:
        ValueError: a file is missing, or not what was exported.
    """

    def __init__(self, folder: Path, model: str = "model.onnx", threads: int | None = None) -> None:
        path = folder / "model.json"
        try:
            self.facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if facts_digest(self.facts) != self.facts["digest"]:
                raise ValueError(f"{path} is not the file that was exported: its checksum differs")
            digest = self.facts["files"][model]
            if hashlib.sha256((folder / model).read_bytes()).hexdigest() != digest:
                raise ValueError(f"{folder / model} is not the file that was exported: its checksum differs")
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}") from None
        except (KeyError, TypeError):
            raise ValueError(f"{path} names no file {model}, or no checksum: export the run again") from None
        self.rate, self.samples = int(self.facts["sample_rate"]), int(self.facts["samples"])
        self.channel, self.full_scale = self.facts["channel"], float(self.facts["full_scale"])
        self.labels: list[str] = self.facts["labels"]
        self.held_out = {name: np.array(scores) for name, scores in self.facts["held_out"].items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(folder / model, options, providers=["CPUExecutionProvider"])
        self.inputs = {entry.name for entry in self.session.get_inputs()}
        self.options = onnxruntime.RunOptions()
        self.options.add_run_config_entry("only_execute_path_to_fetches", "1")  # no error map that nobody asks for

    # --- clips -------------------------------------------------------------------------------------------------------
    def score(self, clips: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Score clips, int16 [B, samples], of machine IDs [B] by position in `labels` (-1: unknown), [B]."""
        feeds = {"wave": clips / np.float32(_FULL_SCALE), "machine_id": np.asarray(ids, np.int64)}
        fed = {name: value for name, value in feeds.items() if name in self.inputs}
        return self.session.run(["score"], fed, self.options)[0]

    def score_window(self, clips: np.ndarray, id_: int) -> float:
        """Score the clips [C, samples] of a window, fused over its channels."""
        scores = self.score(clips, np.full(len(clips), id_))
        return float(scores.max() if self.facts["fusion"] == "max" else scores.mean(dtype=np.float64))

    def judge(self, score: float, id_: int) -> Verdict:
        """Decide on a score of a machine ID."""
        label = self.labels[id_] if id_ >= 0 else _UNSEEN
        normal = self.held_out.get(label, self.held_out[_UNSEEN])
        below = int(np.searchsorted(normal, score, side="left"))
        limits = self.facts["thresholds"]
        p_value = (1 + len(normal) - below) / (1 + len(normal))
        return Verdict(score, below / len(normal), p_value, bool(score > limits.get(label, limits[_UNSEEN])))

    # --- recordings --------------------------------------------------------------------------------------------------
    def windows(self, path: Path, hop: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        """Yield start in s and clip, int16 [C, samples], of each window of a recording; the last one ends with it.

        C is 1, or with channel `all` the number of channels that are not silent.

        Args:
            hop: s from one window to the next; None: half a clip.

        Raises:
            Unusable: the recording cannot be read.
        """
        try:
            with soundfile.SoundFile(path) as file:
                yield from self._windows_of(file, hop)
        except (OSError, RuntimeError) as error:  # libsndfile's are RuntimeErrors
            raise Unusable(f"not readable as audio: {error}") from None

    def _windows_of(self, file: soundfile.SoundFile, hop: float | None) -> Iterator[tuple[float, np.ndarray]]:
        starts, frames, ratio = self.plan(file, hop)
        for start in starts:
            yield start / file.samplerate, self.clips(file, start, frames, ratio)

    def plan(self, file: soundfile.SoundFile, hop: float | None = None) -> tuple[list[int], int, Fraction]:
        """Return the first frame of each window of a recording, the frames of a clip, and the rate over that of clips.

        Raises:
            Unusable: the recording cannot be read.
        """
        rate, total = file.samplerate, file.frames
        if file.format not in _FORMATS or (file.subtype.startswith("MPEG") and file.format != "MP3"):
            raise Unusable(f"of format {file.format} {file.subtype}, which is not read: convert it to wav or FLAC")
        if rate not in _RATES or not 0 < total < _UNKNOWN:
            raise Unusable(f"its header says {rate} Hz and {total} samples: save it with another program")
        if isinstance(self.channel, int) and not 0 <= self.channel < file.channels:
            raise Unusable(f"has no channel {self.channel}: it has {file.channels}, counted from 0")
        ratio = _ratio_of(rate, self.rate)
        frames = math.ceil(self.samples * ratio)
        if total - frames <= _SHORTEST_CUT * rate:
            return [0], frames, ratio
        step = max(1, round((hop or self.samples / self.rate / 2) * rate))
        return [*range(0, total - frames, step), total - frames], frames, ratio

    def clips(self, file: soundfile.SoundFile, start: int, frames: int, ratio: Fraction) -> np.ndarray:
        """Prepare the window from frame `start` on, int16 [C, samples]; `frames` and `ratio` are those of `plan`.

        Raises:
            Unusable: it cannot be read, or is silent.
        """
        frames = min(frames, file.frames - start)
        margin = 0 if ratio == 1 else 2 * (_filter(ratio.numerator, ratio.denominator)[1] + ratio.numerator)
        file.seek(start)
        dtype = "int16" if file.subtype == "PCM_16" else "float32"
        wanted = min(frames + margin, file.frames - start)
        block = file.read(wanted, dtype=dtype, always_2d=True)
        if len(block) < wanted:
            raise Unusable("truncated: it has fewer samples than its header declares")
        clips, faults = [], []
        for wave in self._chosen(block):
            try:
                clips.append(self.clip(wave, frames, ratio, floating=file.subtype in ("FLOAT", "DOUBLE")))
            except Unusable as reason:
                faults.append(reason)
        if not clips:
            raise faults[0]
        return np.stack(clips)

    def clip(self, wave: np.ndarray, frames: int, ratio: Fraction, *, floating: bool) -> np.ndarray:
        """Prepare samples [T] of one channel, int16 [samples]; `frames` of them count, the rest is a margin.

        Raises:
            Unusable: they are silent, not finite, or out of scale.
        """
        if not np.isfinite(wave).all():
            raise Unusable("contains NaN or infinite samples")
        used = wave[:frames]
        if used.min() == used.max():
            raise Unusable("digital silence: every sample is equal (is the microphone connected?)")
        if floating:
            over = np.abs(used) > self.full_scale
            if over.mean() > _OVERS or np.abs(used).max() > _HIGHEST_OVER * self.full_scale:
                raise Unusable(f"{100 * over.mean():.3g} % of its samples lie beyond full scale")
            wave = wave / self.full_scale
        clip = _to_int16(_resampled(wave, ratio))[: self.samples]
        if clip.min() == clip.max():
            raise Unusable(f"rounds to silence in 16 bits at {self.rate} Hz")
        return np.resize(clip, self.samples)

    def _chosen(self, samples: np.ndarray) -> list[np.ndarray]:
        """Select or average channels, [T, channels] -> waveforms [T]."""
        if self.channel == "all":
            return [np.ascontiguousarray(wave) for wave in samples.T]
        if self.channel == "mean":
            mean = samples.mean(axis=1, dtype=np.float32)
            return [np.rint(mean).astype(np.int16) if samples.dtype == np.int16 else mean]
        return [np.ascontiguousarray(samples[:, self.channel])]

    # --- machine IDs -------------------------------------------------------------------------------------------------
    def id_of(self, path: Path, given: str | None = None) -> int:
        """Return the position of a machine ID in `labels`: the given one, or the one that the path names; -1: unknown.

        Raises:
            Unusable: it is needed, and the path does not tell it.
        """
        if given is not None:
            number = self.number_of(given)
            if number < 0:
                raise ValueError(f"--machine-id {given}: give one of {', '.join(self.labels)}")
            return number
        words = [path.stem, *reversed(path.parts[:-1])]
        if self.facts["id_in"] == "folder":
            words = [*words[1:], words[0]]
        named = [self._named_in(word, path.parts) for word in words]
        found = next((id_ for id_ in named if id_ is not None), None)
        if found is not None or len(self.labels) == 1:
            return found or 0
        if self.facts["needs_id"]:
            raise Unusable(f"its path names none of the machine IDs {', '.join(self.labels)}: give --machine-id")
        return -1

    def number_of(self, name: str) -> int:
        """Return the position in `labels` of a machine ID given by name; -1: there is none, or several."""
        found = [at for at, label in enumerate(self.labels) if name.lower() in (label.lower(), _id(label))]
        return found[0] if len(found) == 1 else -1

    def _named_in(self, word: str, folders: Sequence[str]) -> int | None:
        found = [
            at
            for at, label in enumerate(self.labels)
            if re.search(rf"(?<![^\W_]){re.escape(_id(label))}(?![^\W_])", word.lower())
        ]
        if len(found) > 1:  # of several machines
            types = [folder.lower() for folder in folders]
            found = [at for at in found if self.labels[at].split("/")[0].lower() in types]
        return found[0] if len(found) == 1 else None


def facts_digest(facts: dict[str, Any]) -> str:
    """Return the SHA-256 digest of the facts of an export, besides that digest."""
    content = json.dumps({name: fact for name, fact in facts.items() if name != "digest"}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _id(label: str) -> str:
    return label.split("/", 1)[1].lower()


@lru_cache
def _ratio_of(rate: int, sample_rate: int) -> Fraction:
    """Return rate / sample_rate, or the nearest fraction whose resampling filter is not too long."""
    return Fraction(rate, sample_rate).limit_denominator(max(1, math.isqrt(_MAX_KERNEL * sample_rate // rate)))


@lru_cache
def _filter(old: int, new: int) -> tuple[np.ndarray, int]:
    """Compute a windowed sinc for each of the `new` phases, [new, K], and its half width, as torchaudio does."""
    base = min(old, new) * _ROLLOFF
    width = math.ceil(_FILTER_WIDTH * old / base)
    phase = (np.arange(0, -new, -1) / new).astype(np.float32)
    t = phase[:, None] + np.arange(-width, width + old)[None] / old
    t = np.clip(t * base, -_FILTER_WIDTH, _FILTER_WIDTH)
    window = np.cos(t * math.pi / _FILTER_WIDTH / 2) ** 2
    return (np.sinc(t) * window * base / old).astype(np.float32), width


def _resampled(wave: np.ndarray, ratio: Fraction) -> np.ndarray:
    """Resample [T] by old / new rate; int16 becomes float32 in full scale 1. A ratio of 1 changes nothing."""
    if ratio == 1:
        return wave
    old, new = ratio.numerator, ratio.denominator
    kernel, width = _filter(old, new)
    scaled = (wave / _FULL_SCALE if wave.dtype == np.int16 else wave).astype(np.float32)
    padded = np.pad(scaled, (width, width + old))
    frames = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[1])[::old]
    return (frames @ kernel.T).reshape(-1)[: math.ceil(len(wave) * new / old)]


def _to_int16(wave: np.ndarray) -> np.ndarray:
    if wave.dtype == np.int16:
        return wave
    return np.clip(np.rint(wave * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def _rows(scorer: ExportedScorer, files: Sequence[Path], given: str | None, hop: float | None) -> Iterator[list[Any]]:
    """Yield the row of each window of each recording, in the order of `ROW`."""
    for path in files:
        try:
            id_ = scorer.id_of(path, given)
            label = scorer.labels[id_] if id_ >= 0 else ""
            for start, clips in scorer.windows(path, hop):
                verdict = scorer.judge(scorer.score_window(clips, id_), id_)
                ranks = f"{verdict.higher_than:.4f}", f"{verdict.p_value:.4f}", int(verdict.anomalous)
                yield [path, f"{start:.3f}", label, repr(verdict.score), *ranks, ""]
        except Unusable as reason:
            yield [path, "", "", "", "", "", -1, reason]


def _measure(scorer: ExportedScorer, seconds: float = 2.0) -> dict[str, float]:
    """Measure milliseconds per clip, one at a time, and the peak memory of the process in MiB (0: unknown)."""
    clip = np.random.default_rng(0).normal(0, 1000, (1, scorer.samples)).astype(np.int16)
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 4 or time.perf_counter() < ends:
        started = time.perf_counter()
        scorer.score(clip, np.zeros(1, int))
        times.append(time.perf_counter() - started)
    status = Path("/proc/self/status")
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.is_file() else 0.0
    return {"ms_per_clip": 1e3 * sorted(times[1:])[len(times[1:]) // 2], "peak_mib": peak}


def _files(places: Sequence[Path]) -> list[Path]:
    found = []
    for place in places:
        if not place.exists():
            raise ValueError(f"{place}: no such file or folder")
        inside = place.rglob("*") if place.is_dir() else [place]
        found += sorted(path for path in inside if path == place or path.suffix.lower() in _SUFFIXES)
    if not found:
        raise ValueError(f"there are no recordings in {', '.join(map(str, places))}")
    return found


def _main() -> None:
    summary, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=more)
    parser.add_argument("input", nargs="*", type=Path, help="recordings, or folders of them")
    parser.add_argument("--machine-id", help="of all recordings; default: the one that the path names")
    parser.add_argument("--output", type=Path, default=Path("scores.csv"), help="the CSV to write (scores.csv)")
    parser.add_argument("--hop", type=float, help="s from one window of a long recording to the next (half a clip)")
    parser.add_argument("--model", default="model.onnx", help="or model.int8.onnx")
    parser.add_argument("--threads", type=int, help="of onnxruntime (one per core)")
    parser.add_argument("--measure", action="store_true", help="print time and memory of one clip")
    options = parser.parse_args()
    try:
        scorer = ExportedScorer(Path(__file__).resolve().parent, options.model, options.threads)
        if options.measure:
            print(json.dumps(_measure(scorer)))
            return
        if options.hop is not None and not 0 < options.hop <= scorer.samples / scorer.rate:
            raise ValueError(f"--hop {options.hop:g}: above 0 and at most a clip, {scorer.samples / scorer.rate:g} s")
        count, anomalous, skipped = 0, 0, 0
        with open(options.output, "w", encoding="utf-8", errors="surrogateescape", newline="") as target:
            table = csv.writer(target, lineterminator="\n")
            table.writerow(ROW)
            for row in _rows(scorer, _files(options.input), options.machine_id, options.hop):
                table.writerow(row)
                count, anomalous, skipped = count + 1, anomalous + (row[6] == 1), skipped + (row[6] == -1)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{count} windows, {anomalous} anomalous, {skipped} skipped: {options.output}")


if __name__ == "__main__":
    _main()
