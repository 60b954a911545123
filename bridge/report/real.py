"""Words and numbers of the report's section on real plugins; their meaning is in `verify.results`, no mark-up here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..choices import Host
from ..processors.specs import SPECS
from ..verify.results import DEEPEST_NULL_DB, NodeResult, Verification
from ..verify.verdict import AMBER_GAP, GREEN_GAP, Verdict
from .words import frequency_text, level_text, ratio_text

#: What stands where there is no number.
DASH = "–"

#: Rows that are seen at once; the others unfold.
ROWS_IN_SIGHT = 8

_MIXER_TITLES = {"fader": "Fader", "volume": "Volume automation", "send": "Send", "media": "Source"}
_SESSION_TITLES = {"reaper": "REAPER project", "ardour": "Ardour session", "chain": "plugin chain"}
#: Who rendered, where it was not we.
_HOST_TITLES: dict[Host, str] = {"reaper": "REAPER", "ardour": "Ardour", "given": "hand"}

_VERDICTS: dict[Verdict, str] = {
    "green": "nothing audible was lost on the way into real plugins",
    "amber": "a little was lost on the way into real plugins; look at the worst nodes",
    "red": "the session does not sound like the match; the worst nodes say why",
    "unknown": "there is no target to measure a gap against",
    "failed": "the session could not be rendered",
}


@dataclass(frozen=True)
class NodeRow:
    """One line of the table of nodes; `channel_id` is that of the graph."""

    channel_id: str
    channel: str
    title: str
    type: str
    plugin: str
    null: str
    level: str
    cost: str
    note: str


@dataclass(frozen=True)
class RealSection:
    """What the page says about one verified session.

    Attributes
    ----------
    facts : tuple of (str, str)
    nodes, folded : tuple of NodeRow
        Worst first: those in sight and those that unfold.
    octaves : tuple of (str, str, str)
        Band, level to the graph's render, level to the target.
    features : tuple of tuple of str
        Name, then real, graph and target.
    player : int
        Number of its player among those of the page.
    """

    title: str
    verdict: Verdict
    headline: str
    facts: tuple[tuple[str, str], ...]
    nodes: tuple[NodeRow, ...]
    folded: tuple[NodeRow, ...]
    octaves: tuple[tuple[str, str, str], ...]
    features: tuple[tuple[str, str, str, str], ...]
    notes: tuple[str, ...]
    player: int


def real_section(verification: Verification, *, player: int) -> RealSection:
    """Lay out a result for the page."""
    rows = tuple(_row(node) for node in verification.nodes)
    return RealSection(
        title=session_title(verification),
        verdict=verification.verdict,
        headline=headline(verification),
        facts=tuple(_facts(verification)),
        nodes=rows[:ROWS_IN_SIGHT],
        folded=rows[ROWS_IN_SIGHT:],
        octaves=tuple(
            (frequency_text(o.centre_hz), _change(o.to_graph_db), _change(o.to_target_db)) for o in verification.octaves
        ),
        features=tuple(_features(verification)),
        notes=verification.notes,
        player=player,
    )


def session_title(verification: Verification) -> str:
    """What was rendered and, where it was not by our own hosts, by whom."""
    title = _SESSION_TITLES.get(verification.session, "session")
    return f"{title}, rendered by {host_title(verification)}" if verification.host else title


def host_title(verification: Verification) -> str:
    """Who rendered a session, such as "Mixbridge" or "REAPER 7.20"."""
    name = _HOST_TITLES.get(verification.host, "Mixbridge")
    version = verification.host_version
    return version if version.startswith(name) else f"{name} {version}".strip()


def headline(verification: Verification) -> str:
    """What the verdict means, and the gap."""
    words = _VERDICTS[verification.verdict].capitalize()
    if verification.gap is None:
        return f"{words}."
    bounds = f"green up to {GREEN_GAP:g}, amber up to {AMBER_GAP:g}"
    return f"{words}. The transfer gap is {gap_text(verification.gap)} ({bounds})."


def gap_text(gap: float | None) -> str:
    """A transfer gap with its sign, such as "+0.0012"."""
    return DASH if gap is None else "0" if abs(gap) < 5e-7 else f"{gap:+.4f}" if abs(gap) >= 5e-5 else f"{gap:+.1e}"


def loss_figure(loss: float | None) -> str:
    """A value of L_a as it is told to people: three digits, or a power of ten."""
    return DASH if loss is None else f"{loss:.3f}" if loss >= 0.01 or loss == 0.0 else f"{loss:.1e}"


def loss_text(loss: float | None) -> str:
    """A value of L_a."""
    return DASH if loss is None else f"{loss:.4f}" if loss >= 0.001 or loss == 0.0 else f"{loss:.1e}"


def null_text(null_db: float | None) -> str:
    """A null depth, such as "-93 dB"."""
    if null_db is None:
        return DASH
    return f"≤ {level_text(DEEPEST_NULL_DB)}" if null_db <= DEEPEST_NULL_DB else level_text(round(null_db))


def _change(change_db: float | None) -> str:
    return DASH if change_db is None else f"{change_db:+.2f} dB" if abs(change_db) >= 0.005 else "0 dB"


def _facts(v: Verification) -> list[tuple[str, str]]:
    real = v.features.get("real")
    offset = "none" if v.offset_samples == 0 else f"{v.offset_samples:+d} samples"
    return [
        ("Transfer gap", gap_text(v.gap)),
        ("Lₐ, real plugins", loss_text(v.loss.real)),
        ("Lₐ, reference render", loss_text(v.loss.graph)),
        ("Lₐ, search", loss_text(v.loss.differentiable)),
        ("Null against the match", null_text(v.null_db)),
        ("Offset", offset),
        ("Loudness to the match", _loudness(v.loudness_difference_lu)),
        ("True peak", DASH if real is None else f"{real.true_peak_db:.1f} dBTP"),
        ("Plugins", v.suites or DASH),
    ]


def _loudness(difference_lu: float | None) -> str:
    return DASH if difference_lu is None else f"{difference_lu:+.2f} LU" if abs(difference_lu) >= 0.005 else "0 LU"


def node_title(node: NodeResult) -> str:
    """What a node is, such as "Compressor", "Fader" or "Source"."""
    if node.kind in _MIXER_TITLES:
        return _MIXER_TITLES[node.kind]
    return SPECS[node.type].label if node.type in SPECS else node.plugin or "Effect"


def _row(node: NodeResult) -> NodeRow:
    late = f"{'late' if node.offset_samples > 0 else 'early'} by {abs(node.offset_samples)} samples"
    notes = [n for n in (node.note, late if node.offset_samples else "") if n]
    return NodeRow(
        channel_id=node.channel,
        channel=node.channel_name,
        title=node_title(node),
        type=node.type,
        plugin=node.plugin,
        null=null_text(node.null_db),
        level=_change(node.level_error_db),
        cost=gap_text(node.contribution),
        note=", ".join(notes),
    )


def _features(v: Verification) -> list[tuple[str, str, str, str]]:
    columns = [v.features.get(name) for name in ("real", "graph", "target")]
    rows: Sequence[tuple[str, Sequence[str]]] = (
        ("Integrated loudness", [_number(c.loudness_lufs if c else None, "LUFS") for c in columns]),
        ("True peak", [_number(c.true_peak_db if c else None, "dBTP") for c in columns]),
        ("Mean level (RMS)", [_number(c.rms_db if c else None, "dBFS") for c in columns]),
        ("Crest factor", [_number(c.crest_db if c else None, "dB") for c in columns]),
        ("Stereo width", [DASH if c is None else ratio_text(c.width) for c in columns]),
        ("Stereo imbalance", [DASH if c is None else f"{c.imbalance:+.3f}" for c in columns]),
    )
    return [(title, *texts) for title, texts in rows]  # type: ignore[misc]


def _number(value: float | None, unit: str) -> str:
    return DASH if value is None else f"{value:.1f} {unit}"
