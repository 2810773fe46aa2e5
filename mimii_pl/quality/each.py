"""Findings about one recording by itself."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mimii_pl.dataset._channels import split_channel
from mimii_pl.quality.findings import CheckedRecording, Finding, Severity
from mimii_pl.quality.limits import Limits
from mimii_pl.quality.measures import Measures

LEAST_OFFSET = 2**-12  # full scale 1, eight steps of 16 bits: less is the converter's


def check_each(recordings: Sequence[CheckedRecording], channel: int | str, limits: Limits) -> Iterator[Finding]:
    """Yield the findings that need no other recording.

    Args:
        channel: that is used, from 0, or `mean`.
    """
    for row, recording in enumerate(recordings):
        yield from _check(row, recording, channel, limits)


def _check(row: int, recording: CheckedRecording, channel: int | str, limits: Limits) -> Iterator[Finding]:
    measures = recording.measures
    found = partial(_found, row, recording)
    if measures.fault:
        yield found("unreadable", "error", measures.fault)
        return
    if measures.silent and not measures.dead:
        yield found("silence", "error", f"every sample is {measures.offset:.4g}")
        return
    yield from _check_channels(found, measures, split_channel(recording.clip.path, channel)[1])
    if measures.silent:
        return
    if measures.clipped >= limits.clipped:
        count, longest, at = measures.clips
        text = (
            f"{100 * measures.clipped:.3g} % of the samples in flat tops ({count}) at {measures.peak:.3g} of full "
            f"scale, up to {longest} samples long"
        )
        is_error = measures.clipped >= limits.clipped_error
        yield found("clipping", "error" if is_error else "warning", text, measures.clipped, at)
    if measures.drops[0]:
        count, seconds, at = measures.drops
        text = (
            f"{100 * measures.dropped:.3g} % of it in blocks of one value ({count}), up to {1000 * seconds:.4g} ms long"
        )
        is_error = measures.dropped >= limits.dropped_error
        yield found("dropouts", "error" if is_error else "warning", text, measures.dropped, at)
    rms = 10 ** (measures.level / 20)
    if abs(measures.offset) >= max(limits.offset * rms, LEAST_OFFSET):
        text = f"mean {measures.offset:.3g} of full scale, {abs(measures.offset) / rms:.2g} times the RMS around it"
        yield found("offset", "warning", text, abs(measures.offset) / rms)
    if 0 < measures.used_bits < limits.bits:
        yield found("bits", "warning", f"{measures.used_bits} of {measures.bits} bits in use", -measures.used_bits)
    if measures.edge <= limits.band * measures.rate / 2:
        text = f"its energy ends at {measures.edge:.0f} Hz, half the sampling frequency is {measures.rate / 2:.0f} Hz"
        yield found("band", "warning", text, 1 - measures.edge / measures.rate)


def _check_channels(found: Callable[..., Finding], measures: Measures, channel: int | str) -> Iterator[Finding]:
    if measures.dead:
        used = channel != "mean" and int(channel) in measures.dead
        text = f"channel {_numbers(measures.dead)} of {measures.channels} is silent beside the loudest"
        yield found("dead_channel", "error" if used else "warning", text, len(measures.dead))
    pairs = [pair for pair in measures.same if not {*pair} & {*measures.dead}]
    if pairs:
        first, other = pairs[0]
        more = f" and {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
        text = f"channels {first} and {other} have the same samples, or one the negative of the other{more}"
        yield found("same_channels", "warning" if channel == "mean" else "note", text, len(pairs))


def _found(
    row: int,
    recording: CheckedRecording,
    kind: str,
    severity: Severity,
    text: str,
    value: float = 0.0,
    at: float | None = None,
) -> Finding:
    return Finding(kind, severity, recording.clip.label, row, text, value, exclude=severity == "error", at=at)


def _numbers(channels: Sequence[int]) -> str:
    shown = ", ".join(map(str, channels[:8]))
    return f"{shown} and {len(channels) - 8} more" if len(channels) > 8 else shown
