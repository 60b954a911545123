"""The page's spectrograms: which there are, with titles, axes and legends; how one is made is in `pictures`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..webpage import data_uri
from . import pictures
from .pictures import Spectrogram
from .scales import Tick, frequency_ticks, time_ticks

#: Renders by real plugins that are shown beside the match; more would burst the page.
MOST_PICTURED = 2


@dataclass(frozen=True)
class Plot:
    """One picture: `take` names the render it is of, and is empty for the target."""

    title: str
    role: str
    image: str
    take: str
    alt: str


@dataclass(frozen=True)
class Legend:
    """A colour scale."""

    title: str
    stops: str
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Spectra:
    """All pictures over common axes, and what they were made of."""

    plots: tuple[Plot, ...]
    takes: dict[str, str]
    legends: tuple[Legend, ...]
    time_ticks: tuple[Tick, ...]
    frequency_ticks: tuple[Tick, ...]
    duration_s: float
    target: Spectrogram
    match: Spectrogram


def spectra_of(
    target: npt.ArrayLike, takes: Mapping[str, tuple[str, npt.ArrayLike]], *, sample_rate_hz: int
) -> Spectra:
    """Spectrograms of a target and its renders, mid and side, and their errors.

    Parameters
    ----------
    target : array of float, shape=(2, n), n >= 1
    takes : mapping of str to (str, array)
        Key, title and sound of each render, of the target's shape; the first is the match.
    """
    wanted = pictures.spectrogram(target, sample_rate_hz=sample_rate_hz)
    found = {key: pictures.spectrogram(audio, sample_rate_hz=sample_rate_hz) for key, (_, audio) in takes.items()}
    low, high = pictures.level_range_db(wanted, *found.values())
    plots = list(_levels(wanted, "Target", "", low=low, high=high))
    for key, (title, _) in takes.items():
        plots += _levels(found[key], title, key, low=low, high=high)
        plots += _errors(wanted, found[key], title, key, low=low)
    return Spectra(
        plots=tuple(plots),
        takes={key: title for key, (title, _) in takes.items()},
        legends=tuple(_legends(low, high)),
        time_ticks=tuple(time_ticks(wanted.duration_s)),
        frequency_ticks=tuple(frequency_ticks(float(wanted.edges_hz[0]), float(wanted.edges_hz[-1]))),
        duration_s=wanted.duration_s,
        target=wanted,
        match=next(iter(found.values())),
    )


def _levels(shown: Spectrogram, title: str, take: str, *, low: float, high: float) -> Iterator[Plot]:
    for image, levels in (("mid", shown.mid_db), ("side", shown.side_db)):
        png = pictures.png(levels, low=low, high=high, colour_map=pictures.LEVEL_MAP)
        what = f"Spectrogram of {title.lower()}"
        yield _plot(png, f"{title}, {image}", "level", take, f"{what}, {image} signal")


def _errors(target: Spectrogram, shown: Spectrogram, title: str, take: str, *, low: float) -> Iterator[Plot]:
    reach = pictures.ERROR_RANGE_DB
    for image, one, two in (("mid", target.mid_db, shown.mid_db), ("side", target.side_db, shown.side_db)):
        error = pictures.error_db(one, two, floor_db=low)
        png = pictures.png(error, low=-reach, high=reach, colour_map=pictures.ERROR_MAP)
        mean_db = float(np.mean(np.abs(error)))
        what = f"Level of {title.lower()} against the target, {image} signal, {mean_db:.1f} dB apart on average"
        yield _plot(png, f"Error of {title[:1].lower()}{title[1:]}, {image}", "error", take, what)


def _plot(png: bytes, title: str, role: str, take: str, what: str) -> Plot:
    alt = f"{what}: time from left to right, frequency from bottom to top"
    return Plot(title, role, data_uri("image/png", png), take, alt)


def _legends(low: float, high: float) -> Iterator[Legend]:
    reach = pictures.ERROR_RANGE_DB
    levels = [low + (high - low) * k / 3 for k in range(4)]
    errors = [-reach, -reach / 2, 0.0, reach / 2, reach]
    yield Legend(
        "Level per 1/20 octave (dB, full-scale sine = 0)",
        ", ".join(pictures.colour_stops(pictures.LEVEL_MAP)),
        tuple(Tick(100.0 * k / 3, f"{level:.0f}") for k, level in enumerate(levels)),
    )
    yield Legend(
        "Error against the target (dB); blue is too quiet, red too loud, black right",
        ", ".join(pictures.colour_stops(pictures.ERROR_MAP)),
        tuple(Tick(25.0 * k, f"{error:+.0f}" if error else "0") for k, error in enumerate(errors)),
    )
