"""The names of what is rated and the anchors made of the reference; files are read and levels set elsewhere."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import scipy.signal

REFERENCE, MATCH, PLAIN_SUM, LOW_ANCHOR, MID_ANCHOR = "reference", "match", "plain-sum", "low-anchor", "mid-anchor"

#: Renders by real plugins are called this and a label, where there are several.
REAL = "real"

TITLES = {
    REFERENCE: "Hidden reference",
    MATCH: "Match",
    REAL: "Real plugins",
    PLAIN_SUM: "Plain sum of the stems",
    LOW_ANCHOR: "Low anchor (3.5 kHz)",
    MID_ANCHOR: "Mid anchor (7 kHz)",
}

#: ITU-R BS.1534-3, section 5.1: what the anchors keep of the reference (Hz).
ANCHOR_CUTOFFS_HZ = {LOW_ANCHOR: 3500.0, MID_ANCHOR: 7000.0}

#: Width of the slope, as a share of the cut-off, and how deep it goes: 25 dB are asked for at 8/7, 50 dB at 9/7.
_SLOPE_SHARE, _DEPTH_DB = 1.0 / 7.0, 70.0


def anchor(audio: npt.NDArray[np.floating], *, cutoff_hz: float, sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """The low-passed reference, without delay; its pass band is flat within 0.1 dB.

    Parameters
    ----------
    audio : array, shape=(2, n)
    cutoff_hz : float
        Up to here everything stays; a signal that holds nothing above comes back as it is.
    sample_rate_hz : int
    """
    signal = np.asarray(audio, dtype=np.float64)
    if cutoff_hz * (1.0 + _SLOPE_SHARE) >= 0.5 * sample_rate_hz:
        return signal
    taps = _low_pass(cutoff_hz, sample_rate_hz)
    # The whole convolution, cut in its middle: `same` would follow the filter where that is the longer one.
    half = len(taps) // 2
    return np.asarray(scipy.signal.oaconvolve(signal, taps[None], axes=-1)[:, half : half + signal.shape[1]])


@functools.cache
def _low_pass(cutoff_hz: float, sample_rate_hz: int) -> npt.NDArray[np.float64]:
    slope_hz = _SLOPE_SHARE * cutoff_hz
    count, beta = scipy.signal.kaiserord(_DEPTH_DB, slope_hz / (0.5 * sample_rate_hz))
    middle_hz = cutoff_hz + 0.5 * slope_hz
    return np.asarray(scipy.signal.firwin(count | 1, middle_hz, window=("kaiser", beta), fs=sample_rate_hz))
