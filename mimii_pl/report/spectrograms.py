"""Spectrograms as pictures: axes are drawn once for all clips of a length, and the levels of each put into them."""

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mimii_pl.report.figures import WIDTH, Image, pixel_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEL_BANDS = 96
RANGE = 70  # dB that a spectrogram shows
ORDER_STEPS = (1, 2, 5)  # of the ticks of an axis in orders, times powers of 10
LOWEST_ORDER = 0.1  # on such an axis
ORDER_ROOM = 9  # mel bands between two such ticks, at least
DPI = 90  # of pictures; places are given, since an automatic layout would double the time
Box = tuple[slice, slice]  # rows and columns of pixels


class Levels(NamedTuple):
    """Log-mel levels of a clip.

    Attributes:
        decibels: [MEL_BANDS, N].
        centres: of the bands in Hz, [MEL_BANDS].
        samples: length of the clip.
        rate: in Hz.
    """

    decibels: np.ndarray
    centres: np.ndarray
    samples: int
    rate: int


class Location(NamedTuple):
    """Contribution of each part of a clip to its score.

    Attributes:
        amount: [F, N], higher = more anomalous; its columns divide the clip evenly.
        hertz: [F + 1], edges of its rows.
        method: by which it was computed, in words.
    """

    amount: np.ndarray
    hertz: np.ndarray
    method: str


class _Frame(NamedTuple):
    """Axes without content.

    Attributes:
        pixels: [height, width, 3], 8 bits.
        boxes: the inside of each panel, from above.
    """

    pixels: np.ndarray
    boxes: list[Box]


def spectrogram(
    levels: Levels,
    alt: str = "Spectrogram.",
    location: Location | None = None,
    top: float | None = None,
    rpm: float | None = None,
) -> Image:
    """Draw the log-mel spectrogram of a clip, and the location of the anomaly, if given, below it.

    Args:
        top: level in dB of the brightest colour, for pictures that are compared; None: that of the loudest part.
        rpm: speed of the shaft in revolutions per minute: a second axis has the orders; None: unknown.
    """
    top = levels.decibels.max() if top is None else top
    method = location.method if location else None
    frame = _frame(levels.samples, levels.rate, tuple(levels.centres.tolist()), method, rpm)
    pixels = frame.pixels.copy()
    _fill(pixels, frame.boxes[0], (levels.decibels - (top - RANGE)) / RANGE, "magma")
    if location:
        rows = np.clip(np.searchsorted(location.hertz, levels.centres) - 1, 0, len(location.amount) - 1)
        amount = location.amount[rows]
        _fill(pixels, frame.boxes[1], amount / max(np.quantile(amount, 0.998), 1e-12), "gray_r")
    return pixel_image(pixels, alt)


def _fill(pixels: np.ndarray, box: Box, shares: np.ndarray, colours: str) -> None:
    """Put shares of the range of colours, [bands, N], into a panel, the lowest band at its bottom."""
    from matplotlib import colormaps

    rows, columns = (
        (np.arange(part.stop - part.start) * count // (part.stop - part.start))
        for part, count in zip(box, shares.shape, strict=True)
    )
    pixels[box] = colormaps[colours](shares[::-1][np.ix_(rows, columns)].clip(0, 1), bytes=True)[..., :3]


@lru_cache(maxsize=64)
def _frame(samples: int, rate: int, centres: tuple[float, ...], method: str | None, rpm: float | None) -> _Frame:
    """Draw the axes of pictures of clips of one length, with a second panel for a method of localization."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 3.4 if method else 1.9  # in
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    right = 0.88 if rpm else 0.96
    figure.subplots_adjust(left=0.1, right=right, bottom=0.42 / height, top=1 - 0.25 / height, hspace=0.42)
    titles = ["spectrogram", *([f"location: {method}"] if method else [])]
    ticks = [hertz for hertz in (250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000) if hertz <= rate / 2]
    panels = []
    for number, title in enumerate(titles, start=1):
        panel = figure.add_subplot(len(titles), 1, number, xlim=(0, samples / rate), ylim=(0, MEL_BANDS))
        panel.set_title(title, fontsize=9, loc="left")
        places = np.interp(ticks, centres, np.arange(MEL_BANDS) + 0.5)
        panel.set_yticks(places, [f"{hertz / 1000:g}" for hertz in ticks])
        panel.tick_params(labelsize=8)
        panel.set_ylabel("kHz", fontsize=8)
        if rpm:
            _add_orders(panel, order_ticks(rpm, np.array(centres)))
        panels.append(panel)
    panels[-1].set_xlabel("s", fontsize=8)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return _Frame(pixels, [_inside(panel, len(pixels)) for panel in panels])


def _inside(panel: "Axes", height: int) -> Box:
    """Return the pixels within the lines around a panel."""
    extent = panel.get_window_extent()
    return (
        slice(height - math.ceil(extent.y1) + 1, height - math.floor(extent.y0) - 1),
        slice(math.floor(extent.x0) + 1, math.ceil(extent.x1) - 1),
    )


def order_ticks(rpm: float, centres: np.ndarray) -> dict[float, float]:
    """Choose round orders of a shaft for the axis of a spectrogram, with their places in bands.

    Args:
        rpm: speed of the shaft in revolutions per minute; order 1 is rpm / 60 Hz.
        centres: of the bands in Hz, rising.

    Returns:
        order -> place, 0.5 is the centre of the first band; at least ORDER_ROOM bands apart.
    """
    lowest, highest = max(centres[0] / rpm * 60, LOWEST_ORDER), centres[-1] / rpm * 60
    powers = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    orders = [step * 10.0**power for power in powers for step in ORDER_STEPS]
    ticks: dict[float, float] = {}
    for order in orders:
        if lowest <= order <= highest:
            place = float(np.interp(order * rpm / 60, centres, np.arange(len(centres)) + 0.5))
            if not ticks or place - list(ticks.values())[-1] >= ORDER_ROOM:
                ticks[order] = place
    return ticks


def _add_orders(panel: "Axes", ticks: dict[float, float]) -> None:
    axis = panel.secondary_yaxis("right")
    axis.set_yticks(list(ticks.values()), [f"{order:g}" for order in ticks])
    axis.tick_params(labelsize=8)
    axis.set_ylabel("order", fontsize=8)
