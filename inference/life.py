# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs of life that no network makes: blinks, brows that rise on stressed syllables, a head that nods a little.

Everything comes from the loudness of the speech and the opening of the jaw, and from a seed: the same seed gives the
same result. Where the numbers are from:
- 17 blinks a minute at rest, 26 in conversation (Bentivoglio et al., Movement Disorders 12, 1997);
- speakers blink at the ends of phrases and in pauses (Nakano and Kitazawa, Experimental Brain Research 205, 2010);
- a blink takes a third of a second, and opens about half as fast as it shuts (VanderWerf et al., Journal of
  Neurophysiology 89, 2003; Sforza et al., Ophthalmic and Physiological Optics 28, 2008);
- brows rise a little before the accent they belong to (Flecha-García, Speech Communication 52, 2010);
- the head moves with stress, by a few degrees (Hadar et al., Language and Speech 26, 1983; Munhall et al.,
  Psychological Science 15, 2004).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .curves import gaussian_smooth, smooth_step
from .flame import VERTEX_COUNT, arkit_basis
from .motion import FaceMotion
from .prosody import Prosody, accents_of, pauses, thinned

BLINK_SHAPES = ("eyeBlinkLeft", "eyeBlinkRight")
BROW_SHAPES = ("browInnerUpLeft", "browInnerUpRight", "browOuterUpLeft", "browOuterUpRight")
SHAPES = BLINK_SHAPES + BROW_SHAPES

# Seconds. Shut for longer than 1/24 s, so that a film at 24 frames per second shows one frame of every blink.
CLOSING, SHUT, OPENING = 0.09, 0.05, 0.19
BLINK = CLOSING + SHUT + OPENING
_REFRACTORY = 0.6  # seconds from one blink to the next at least
_LAG = 0.008  # seconds by which one eye may be later than the other
# ARKit's eyeBlink leaves 2 mm of 9 open on FLAME; this much of the lids' part of looking down shuts it.
_LOOK_DOWN = 0.6

_BROW_LEAD, _BROW_RISE, _BROW_FALL, _BROW_APART = 0.06, 0.25, 0.5, 2.0  # seconds
_BROW_WEIGHTS = (0.7, 0.7, 0.45, 0.45)  # of BROW_SHAPES, at full amount on the strongest accent
_NOD_RISE, _NOD_FALL, _NOD_APART = 0.16, 0.34, 0.4  # seconds
_NOD = np.radians(3.0)  # at full amount on the strongest accent
_DRIFT = np.radians([0.7, 0.5, 1.1])  # standard deviation about the axes right, forward and up
_DRIFT_SLOWNESS = 0.7  # seconds, standard deviation of the Gaussian that noise is smoothed with


@dataclass(frozen=True)
class Life:
    """How lively: amounts (0: off, 1: natural), blinks per minute, and the seed.

    An amount may also be an array (T,), one value for each frame of the motion.
    """

    blinks: float | np.ndarray = 0.0
    rate: float = 20.0
    brows: float | np.ndarray = 0.0
    nod: float | np.ndarray = 0.0
    seed: int = 0

    @property
    def shapes(self) -> tuple[str, ...]:
        """The blendshapes that it moves."""
        return (BLINK_SHAPES if np.any(self.blinks) else ()) + (BROW_SHAPES if np.any(self.brows) else ())


def enliven(motion: FaceMotion, prosody: Prosody, life: Life) -> FaceMotion:
    """`motion` with columns for blinks and brows added; those that it has already stay as they are.

    Their offsets come along where the basis of `motion` is of FLAME's vertices, else they are zero.
    """
    made: dict[str, np.ndarray] = {}
    if np.any(life.blinks):
        made |= dict(zip(BLINK_SHAPES, _blinks(prosody, life), strict=True))
    if np.any(life.brows):
        accents = thinned(accents_of(prosody), _BROW_APART)
        raised = _overlaid(
            prosody,
            accents.seconds - _BROW_LEAD - _BROW_RISE,
            accents.strength,
            _BROW_RISE + _BROW_FALL,
            lambda seconds: _hump(seconds, _BROW_RISE, _BROW_FALL),
        )
        made |= {name: life.brows * part * raised for name, part in zip(BROW_SHAPES, _BROW_WEIGHTS, strict=True)}
    names = tuple(name for name in made if name not in motion.names)
    if not names:
        return motion
    columns = np.stack([made[name] for name in names], axis=1).clip(0.0, 1.0).astype(np.float32)
    vertices = motion.basis.shape[1]
    shapes = basis_of(names) if vertices == VERTEX_COUNT else np.zeros((len(names), vertices, 3), np.float32)
    return replace(
        motion,
        names=motion.names + names,
        weights=np.concatenate([motion.weights, columns], axis=1),
        basis=np.concatenate([motion.basis, shapes]),
    )


def nod_of(prosody: Prosody, life: Life) -> np.ndarray:
    """Head rotation for each frame of the motion, float32 (T, 3): radians about the axes right, forward and up.

    A positive first angle is the chin going down. It begins and ends at rest.
    """
    count, fps = len(prosody.loudness), prosody.fps
    accents = thinned(accents_of(prosody), _NOD_APART)
    beats = _overlaid(
        prosody,
        accents.seconds - _NOD_RISE,
        accents.strength,
        _NOD_RISE + _NOD_FALL,
        lambda seconds: _hump(seconds, _NOD_RISE, _NOD_FALL),
    )
    noise = np.random.default_rng([life.seed, 3]).normal(size=(count, 3))
    sigma = _DRIFT_SLOWNESS * fps
    drift = gaussian_smooth(noise, sigma) * np.sqrt(2 * sigma * np.sqrt(np.pi))  # unit variance again
    turns = drift * _DRIFT
    turns[:, 0] += _NOD * beats
    ramp = np.minimum(np.arange(count), np.arange(count)[::-1]) / (0.5 * fps)
    turns *= smooth_step(ramp)[:, None]
    return (np.reshape(life.nod, (-1, 1)) * turns).astype(np.float32)


def blink_times(prosody: Prosody, rate: float, seed: int = 0) -> np.ndarray:
    """Seconds at which blinks begin, rising; about `rate` a minute.

    Blinks fall due after a refractory time and an exponentially distributed wait; one that falls due in the middle of
    speech moves to the end of the nearest phrase, where there is one within half a wait.
    """
    mean, duration = 60.0 / rate, prosody.seconds
    rest = min(_REFRACTORY, mean / 2)
    most = int(duration / rest) + 2
    wait = rest + np.random.default_rng([seed, 0]).exponential(mean - rest, most)
    jitter = np.random.default_rng([seed, 1]).random(most + 1)
    # A renewal process in equilibrium: the clip begins anywhere between two blinks, perhaps in a refractory time.
    part = jitter[0] * mean
    wait[0] += (part if part < rest else 0.0) - rest
    breaks = pauses(prosody)
    times: list[float] = []
    for due, random in zip(np.cumsum(wait), jitter[1:], strict=True):
        earliest = times[-1] + max(rest, BLINK) if times else 0.0
        snapped = _to_a_pause(due, breaks, mean / 2, random)
        time = snapped if snapped >= earliest else max(due, earliest)
        if time > duration - BLINK:
            break
        times.append(time)
    return np.array(times)


@lru_cache(maxsize=8)
def basis_of(names: tuple[str, ...]) -> np.ndarray:
    """Offsets (n, 5023, 3) in metres of `SHAPES`; blinks are completed so that weight 1 shuts the eye."""
    known, deltas = arkit_basis()
    shapes = deltas[[known.index(name) for name in names]].copy()
    for shape, name in zip(shapes, names, strict=True):
        if name in BLINK_SHAPES:
            shape += _LOOK_DOWN * deltas[known.index(name.replace("Blink", "LookDown"))]
    return shapes


def _blinks(prosody: Prosody, life: Life) -> tuple[np.ndarray, np.ndarray]:
    """Weights (T,) of the left and of the right lid."""
    times = blink_times(prosody, life.rate, life.seed)
    late = np.random.default_rng([life.seed, 2]).uniform(-_LAG, _LAG, len(times))
    left, right = (
        life.blinks * _overlaid(prosody, starts, np.ones(len(times)), BLINK, _blink)
        for starts in (times + late.clip(0, None), times - late.clip(None, 0))
    )
    return left, right


def _blink(seconds: np.ndarray) -> np.ndarray:
    """How far the lid is shut, 0…1: it accelerates and brakes going down, and comes up ever more slowly."""
    up = ((seconds - CLOSING - SHUT) / OPENING).clip(0, 1)
    return np.where(seconds < CLOSING, smooth_step(seconds, 0.0, CLOSING), 1 - 3 * up + 2 * up * np.sqrt(up))


def _to_a_pause(due: float, breaks: np.ndarray, reach: float, random: float) -> float:
    """`due` itself where it lies in one of the `breaks` (seconds, (n, 2)), else soon after the nearest one begins."""
    if len(breaks) == 0:
        return due
    starts, ends = breaks.T
    if ((starts <= due) & (due <= ends - CLOSING)).any():
        return due
    nearest = int(np.abs(starts - due).argmin())
    if abs(starts[nearest] - due) > reach:
        return due
    return float(starts[nearest] + random * min(0.25, ends[nearest] - starts[nearest] - CLOSING))


def _overlaid(
    prosody: Prosody,
    starts: np.ndarray,
    heights: np.ndarray,
    length: float,
    shape: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Upper envelope (T,) of `shape(seconds)`, `length` seconds long, begun at `starts`, scaled by `heights`."""
    count, fps = len(prosody.loudness), prosody.fps
    curve = np.zeros(count)
    for start, height in zip(starts, heights, strict=True):
        frames = np.arange(max(0, int(np.ceil(start * fps))), min(count, int(np.ceil((start + length) * fps))))
        curve[frames] = np.maximum(curve[frames], height * shape(frames / fps - start))
    return curve


def _hump(seconds: np.ndarray, rise: float, fall: float) -> np.ndarray:
    """Up in `rise` seconds and down in `fall`, smooth throughout."""
    return np.where(seconds < rise, smooth_step(seconds, 0.0, rise), smooth_step(1 - (seconds - rise) / fall))
