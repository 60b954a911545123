"""Probes plugins: measures on this machine whether renders through one can be relied upon, and certifies it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..errors import PluginCrashError, PluginError, PluginOutputError, PluginTimeoutError
from .certificates import (
    Certificate,
    RateResult,
    certificate_path,
    hash_of,
    host_version,
    load_certificate,
    require_certificate,
    save_certificate,
)
from .keeping import alone_with
from .pool import PluginPool
from .refs import ParameterDescription, PluginDescription, PluginRef, PluginSettings

#: Called with the phase, the share done (0 to 1) and a few words.
Progress = Callable[[str, float, str], None]

#: Rates to probe; without the first two a plugin is of no use here.
RATES_HZ = (44100.0, 48000.0, 88200.0, 96000.0)
NEEDED_RATES_HZ = RATES_HZ[:2]

#: Blocks to probe; renders are made with the last one unless they say otherwise.
BLOCKS_FRAMES = (64, 1000, 8192)
#: The first and the last tell most: the one in between is left out where it was tried before.
FEWER_BLOCKS_FRAMES = (BLOCKS_FRAMES[0], BLOCKS_FRAMES[-1])

_SIGNAL_S = 0.75
_IMPULSE_S = 4.0
_TAIL_DB = -90.0
#: Quieter than this is rounding, not a sound a plugin makes by itself.
_SELF_NOISE_DB = -150.0
#: How far parameters are moved from their defaults, as a share of the way to the farther end;
#: levels without a lower end are moved by decibels.
_MOVE = 0.2
_MOVE_DB = -6.0

Audio = npt.NDArray[np.float32]


def probe(
    plugin: PluginRef,
    pool: PluginPool,
    *,
    settings: PluginSettings | None = None,
    fresh_pool: Callable[[], PluginPool] | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Measure a plugin and issue its certificate; it is not kept (see `ensure_certificate`).

    It does not pass if it crashes, hangs, refuses 44.1 or 48 kHz, writes NaN, infinities or audio
    of another length, renders the same input differently, or does not come back the same from its
    stored state. Latency that is reported wrong, dependence on the block length and the like are
    only noted: renders can allow for them.

    Parameters
    ----------
    settings : PluginSettings, optional
        Settings at which determinism, state and blocks are probed besides the defaults; by default
        its numbers are moved off their defaults, so that storing its state shows.
    fresh_pool : callable, optional
        Makes a pool whose worker has not run the plugin yet.
    progress : callable, optional
        Told phase, share and words.

    Raises
    ------
    PluginError
        When the probe itself cannot be made, such as for a plugin that is not there. A plugin that
        crashes or hangs as it is loaded gets a certificate that says so.
    """
    report = progress or (lambda _phase, _share, _words: None)
    run = _Probe(plugin, pool, fresh_pool or (lambda: PluginPool(workers=1)), report)
    try:
        run.measure(settings)
    except (PluginCrashError, PluginTimeoutError, PluginOutputError) as error:
        run.reasons.append(_bare(error, plugin))
    return run.certificate()


def ensure_certificate(
    plugin: PluginRef,
    pool: PluginPool,
    *,
    allow_unverified: bool = False,
    settings: PluginSettings | None = None,
    progress: Progress | None = None,
) -> Certificate | None:
    """Return the certificate of a plugin that passed, probing it now if that was not done yet.

    With `allow_unverified` nothing is probed and whatever certificate there is is returned.

    Raises
    ------
    PluginUnverifiedError
        When it does not pass.
    """
    if not allow_unverified and load_certificate(plugin) is None:
        path = certificate_path(plugin)
        # Processes that need the same plugin wait for the one that probes it.
        with alone_with(path):
            if load_certificate(plugin) is None:
                save_certificate(plugin, probe(plugin, pool, settings=settings, progress=progress))
    return require_certificate(plugin, allow_unverified=allow_unverified)


@dataclass
class _Probe:
    """One probe under way: what was found so far."""

    plugin: PluginRef
    pool: PluginPool
    fresh_pool: Callable[[], PluginPool]
    report: Progress
    description: PluginDescription | None = None
    moved: PluginSettings = field(default_factory=PluginSettings)
    channels: int = 2
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rates: list[RateResult] = field(default_factory=list)
    moved_block_difference_db: float | None = None
    block_frames: int | None = None
    deterministic: bool = False
    state_restored: bool = False
    crosstalk_db: float | None = None
    self_noise_db: float | None = None

    def measure(self, settings: PluginSettings | None) -> None:
        """Fill in everything; stops with the plugin's error where it can go no further."""
        self.report(self.plugin.name, 0.0, "loading")
        self.description = self.pool.describe(self.plugin)
        self.moved = settings or moved_settings(self.description.parameters)
        if not self.description.channels:
            self.reasons.append("takes neither one nor two channels")
            return
        self.channels = max(self.description.channels)
        for index, rate_hz in enumerate(RATES_HZ):
            self.report(self.plugin.name, 0.1 + 0.15 * index, f"{rate_hz / 1000:g} kHz")
            self.rates.append(self._measure_rate(rate_hz))
        refused = [r for r in self.rates if r.refused]
        self.notes += [f"does not run at {r.sample_rate_hz / 1000:g} kHz: {r.refused}" for r in refused]
        needed = [r for r in refused if r.sample_rate_hz in NEEDED_RATES_HZ]
        if needed:
            self.reasons.append(f"does not run at {needed[0].sample_rate_hz / 1000:g} kHz: {needed[0].refused}")
            return
        self.report(self.plugin.name, 0.7, "channels and silence")
        self._measure_channels()
        self.report(self.plugin.name, 0.8, "in a fresh process")
        self._compare_processes()
        self._judge_blocks_and_latency()

    def _render(
        self,
        audio: Audio,
        rate_hz: float,
        *,
        settings: PluginSettings | None = None,
        block_frames: int = BLOCKS_FRAMES[-1],
    ) -> Audio:
        """Render at the given settings; at the defaults without any."""
        chosen = settings or PluginSettings(strings=self.moved.strings)
        return self.pool.render(self.plugin, chosen, audio, sample_rate_hz=rate_hz, block_frames=block_frames)

    def _measure_rate(self, rate_hz: float) -> RateResult:
        # One render for all: what a render costs is more for setting up than for its length.
        impulse, signal = _impulse(self.channels, rate_hz), test_signal(self.channels, rate_hz)
        both = np.concatenate((impulse, signal), axis=1)
        try:
            blocks = BLOCKS_FRAMES if rate_hz in NEEDED_RATES_HZ else FEWER_BLOCKS_FRAMES
            outputs = [self._render(both, rate_hz, block_frames=frames) for frames in blocks]
        except (PluginCrashError, PluginTimeoutError, PluginOutputError):
            raise
        except PluginError as error:
            return RateResult(sample_rate_hz=rate_hz, refused=_bare(error, self.plugin))
        difference = max(_peak(output - outputs[-1]) for output in outputs)
        answer, later = np.split(outputs[-1], [impulse.shape[1]], axis=1)
        magnitude = np.abs(answer).max(axis=0)
        peak = float(magnitude.max())
        sounding = np.flatnonzero(magnitude > peak * 10 ** (_TAIL_DB / 20))
        rings_on = peak > 0 and sounding[-1] >= answer.shape[1] - 64
        return RateResult(
            sample_rate_hz=rate_hz,
            latency_samples=int(np.argmax(magnitude)) if peak else _delay(signal, later),
            block_difference_db=_decibels(difference),
            tail_s=None if rings_on else float(sounding[-1] + 1) / rate_hz if peak else 0.0,
            denormals=_denormals(answer),
        )

    def _measure_channels(self) -> None:
        rate_hz = NEEDED_RATES_HZ[-1]
        silence = np.zeros((self.channels, round(rate_hz / 4)), np.float32)
        left_only = test_signal(self.channels, rate_hz)
        left_only[1:] = 0.0
        output = self._render(np.concatenate((silence, left_only), axis=1), rate_hz)
        quiet, sounding = np.split(output, [silence.shape[1]], axis=1)
        self.self_noise_db = _decibels(_peak(quiet))
        if self.self_noise_db is not None and self.self_noise_db > _SELF_NOISE_DB:
            self.notes.append(f"makes a sound of its own from silence ({self.self_noise_db:.0f} dBFS)")
        if self.channels == 1:
            self.notes.append("mono: takes one channel only")
        elif _peak(sounding[0]) > 0:
            self.crosstalk_db = _decibels(_peak(sounding[1]) / _peak(sounding[0]))

    def _compare_processes(self) -> None:
        """Render again here, then in a fresh process: from the settings, and from the state they give."""
        rate_hz = NEEDED_RATES_HZ[-1]
        signal = test_signal(self.channels, rate_hz)
        first, again = (self._render(signal, rate_hz, settings=self.moved) for _ in range(2))
        short = self._render(signal, rate_hz, settings=self.moved, block_frames=BLOCKS_FRAMES[0])
        self.moved_block_difference_db = _decibels(_peak(short - first))
        with self.fresh_pool() as fresh:
            # The state first: in the fresh process nothing of the settings must be left to be found.
            state_fault = self._state_fault(first, signal, fresh)
            elsewhere = fresh.render(self.plugin, self.moved, signal, sample_rate_hz=rate_hz)
        if not np.array_equal(first, again):
            self.reasons.append(f"not deterministic: two renders differ by {_difference_words(first, again)}")
        elif not np.array_equal(first, elsewhere):
            self.reasons.append(f"not deterministic: a fresh process differs by {_difference_words(first, elsewhere)}")
        else:
            self.deterministic = True
            # Only of a plugin that repeats itself can be said what its state restores.
            self.state_restored = not state_fault
            self.reasons += [state_fault] if state_fault else []

    def _state_fault(self, expected: Audio, signal: Audio, fresh: PluginPool) -> str:
        """Say what goes wrong when a fresh process is given the plugin's state; empty if nothing does."""
        if self.plugin.path is None:
            # Built-ins have no state besides the values that are set.
            return ""
        rate_hz = NEEDED_RATES_HZ[-1]
        state = self.pool.component_state(self.plugin, self.moved, sample_rate_hz=rate_hz)
        stored = PluginSettings(state=state, strings=self.moved.strings)
        restored = fresh.render(self.plugin, stored, signal, sample_rate_hz=rate_hz)
        if not np.array_equal(expected, restored):
            words = _difference_words(expected, restored)
            return f"its state does not restore it: a fresh process differs by {words}"
        if fresh.component_state(self.plugin, stored, sample_rate_hz=rate_hz) != state:
            return "its state does not restore it: given its own state, it stores another one"
        return ""

    def _judge_blocks_and_latency(self) -> None:
        reported = self.description.latency_samples if self.description else 0
        differences_db = [*(r.block_difference_db for r in self.rates), self.moved_block_difference_db]
        seen_db = [difference_db for difference_db in differences_db if difference_db is not None]
        if seen_db and self.deterministic:
            self.block_frames = BLOCKS_FRAMES[-1]
            self.notes.append(f"its output depends on the block length (differences up to {max(seen_db):.0f} dBFS)")
        if any(r.denormals for r in self.rates):
            self.notes.append("its tail ends in denormal numbers")
        wrong = [r for r in self.rates if r.latency_samples is not None and r.latency_samples != reported]
        if wrong:
            first = wrong[0]
            self.notes.append(
                f"reports a latency of {reported} samples; {first.latency_samples} were measured "
                f"at {first.sample_rate_hz / 1000:g} kHz"
            )

    def certificate(self) -> Certificate:
        """Put what was found into its form."""
        seen = self.description
        return Certificate(
            host=host_version(),
            name=seen.name if seen else self.plugin.name,
            vendor=seen.vendor if seen else "",
            version=seen.version if seen else "",
            class_id=self.plugin.class_id or (seen.class_id if seen else ""),
            bundle=self.plugin.path.name if self.plugin.path else "",
            file_hash=hash_of(self.plugin),
            passed=not self.reasons,
            reasons=tuple(self.reasons),
            notes=tuple(self.notes),
            channels=seen.channels if seen else (),
            reported_latency_samples=seen.latency_samples if seen else 0,
            block_frames=self.block_frames,
            deterministic=self.deterministic,
            state_restored=self.state_restored,
            crosstalk_db=self.crosstalk_db,
            self_noise_db=self.self_noise_db,
            rates=tuple(self.rates),
        )


def moved_settings(parameters: Sequence[ParameterDescription]) -> PluginSettings:
    """Settings with every writable number moved off its default towards its farther end.

    Choices and switches stay: the wrong one may mute or bypass the plugin. Of numbered choices,
    as the filter types of an equalizer are, the first is moved on by one.
    """
    values: dict[str, float | str | bool] = {}
    for parameter in parameters:
        if not parameter.writable:
            continue
        if parameter.choices:
            if parameter.name.endswith(" 1") and parameter.default == parameter.choices[0]:
                values[parameter.name] = parameter.choices[1]
        elif parameter.minimum is not None and parameter.maximum is not None and not parameter.steps:
            values[parameter.name] = _moved(float(parameter.default), parameter.minimum, parameter.maximum)
    return PluginSettings(values=values)


def _moved(default: float, minimum: float, maximum: float) -> float:
    if not math.isfinite(minimum) or not math.isfinite(maximum) or not math.isfinite(default):
        return max(minimum, default + _MOVE_DB) if math.isfinite(default) else maximum + _MOVE_DB
    farther = maximum if default - minimum < maximum - default else minimum
    return default + _MOVE * (farther - default)


# ------------------------------------------------------------------ signals and figures


def test_signal(channels: int, rate_hz: float) -> Audio:
    """Noise in bursts between -40 and -3 dBFS, different on each channel, then a pause.

    Returns
    -------
    array (channels, n)
        The same at every call; 0.75 s long.
    """
    n = round(_SIGNAL_S * rate_hz)
    random = np.random.default_rng(20)
    noise = random.uniform(-1.0, 1.0, (channels, n))
    levels_db = np.repeat(random.uniform(-40.0, -3.0, 15), n // 15 + 1)[:n]
    levels_db[-n // 5 :] = -np.inf
    return (noise * 10 ** (levels_db / 20)).astype(np.float32)


def _impulse(channels: int, rate_hz: float) -> Audio:
    audio = np.zeros((channels, round(_IMPULSE_S * rate_hz)), np.float32)
    audio[:, 0] = 0.9
    return audio


def _delay(signal: Audio, output: Audio) -> int | None:
    """Delay of the output against the signal by correlation, samples; for plugins that swallow an impulse."""
    if not _peak(output):
        return None
    size = 2 * signal.shape[1]
    spectra = np.conj(np.fft.rfft(signal[0], size)) * np.fft.rfft(output[0], size)
    return int(np.argmax(np.abs(np.fft.irfft(spectra, size))[: signal.shape[1]]))


def _peak(audio: npt.NDArray[np.floating]) -> float:
    return float(np.abs(audio).max(initial=0.0))


def _decibels(gain: float) -> float | None:
    return float(20 * np.log10(gain)) if gain > 0 else None


def _denormals(audio: Audio) -> int:
    magnitude = np.abs(audio)
    return int(np.count_nonzero((magnitude > 0) & (magnitude < np.finfo(np.float32).tiny)))


def _difference_words(first: Audio, second: Audio) -> str:
    return f"{_decibels(_peak(first - second)):.0f} dBFS"


def _bare(error: PluginError, plugin: PluginRef) -> str:
    """An error without the plugin's name, which the certificate has, and without its remedy."""
    return str(error).removeprefix(f"{plugin.label}: ").split("; ")[0]
