"""Rewrites the report of an analysis with what was verified below it; the page itself is made by `bridge.report`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np

from ..audio import probe, read_audio
from ..choices import Host
from ..errors import MixbridgeError
from ..graph import MixGraph
from ..report.page import Verified, write_report
from ..report.traces import Traces
from ..result_folder import MATCH_FILE, REPORT_FILE, TRACES_FILE
from .locate import find_jobs, result_file
from .measure import fitted, moved
from .realise import Audio
from .results import Verification


def rewrite_report(analysis: Path, graph: MixGraph, target: Audio) -> None:
    """Write the report of an analysis anew, with a section for every verified session in it.

    Nothing is written where the graph's own render is missing.

    Parameters
    ----------
    analysis : Path
        The folder of the analysis.
    target : array, shape=(2, n)
        The part of the mix that was analysed.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    match_file = analysis / MATCH_FILE
    if not match_file.is_file() or probe(match_file).frames != target.shape[1]:
        return
    verified = [
        found
        for job in find_jobs(analysis)
        for host in get_args(Host)
        if (found := _verified(result_file(job, host=host), frames=target.shape[1], graph=graph)) is not None
    ]
    write_report(
        analysis / REPORT_FILE,
        graph=graph,
        target=target,
        match=read_audio(match_file),
        verified=verified,
        traces=Traces.of(analysis / TRACES_FILE, graph),
    )


def _verified(path: Path, *, frames: int, graph: MixGraph) -> Verified | None:
    """A result on disk with its render, laid under the match; None where there is none to show."""
    try:
        result = Verification.load(path)
        audio = read_audio(path.parent / result.real_file)
    except (MixbridgeError, OSError):
        return None
    if not result.real_file or audio.shape[0] != 2 or result.sample_rate_hz != graph.sample_rate_hz:
        return None
    return Verified(result, np.ascontiguousarray(moved(fitted(audio, frames), -result.offset_samples)))
