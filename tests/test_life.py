# SPDX-License-Identifier: GPL-3.0-or-later
"""Blinks, brows and nods: how many, where, how far; the same for the same seed."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from inference import FaceMotion, Speech
from inference.life import (
    BLINK,
    BLINK_SHAPES,
    BROW_SHAPES,
    CLOSING,
    OPENING,
    Life,
    basis_of,
    blink_times,
    enliven,
    nod_of,
)
from inference.prosody import Accents, Prosody, accents_of, loudness_of, pauses, prosody_of, thinned

FPS = 50.0


def talk(seconds: float, seed: int = 0) -> Prosody:
    """Phrases of two to four seconds, syllables at 4 Hz, and pauses of 0.4 s between phrases."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * FPS)) / FPS
    loudness = -30 + 10 * np.sin(2 * np.pi * 4 * times) + rng.normal(scale=1.0, size=len(times))
    end = 0.0
    while end < seconds:
        end += rng.uniform(2, 4)
        loudness[(times >= end) & (times < end + 0.4)] = -75
        end += 0.4
    return heard(loudness)


def heard(loudness: np.ndarray) -> Prosody:
    """`loudness` (T,) with a jaw that does not move."""
    return Prosody(FPS, loudness.astype(np.float32), np.zeros(len(loudness)))


def motion_with(jaw: np.ndarray, *names: str) -> FaceMotion:
    weights = np.zeros((len(jaw), 1 + len(names)), np.float32)
    weights[:, 0] = jaw
    return FaceMotion(FPS, 0.0, ("jawOpen", *names), weights, np.zeros((1 + len(names), 5023, 3), np.float32))


def still(prosody: Prosody) -> FaceMotion:
    return motion_with(prosody.jaw)


@pytest.mark.parametrize("rate", [8.0, 20.0, 40.0])
def test_blinks_come_at_the_rate(rate: float) -> None:
    minutes = 20
    counts = [len(blink_times(talk(60.0 * minutes), rate, seed)) for seed in range(5)]
    # The waits are random: the standard deviation of a mean of 5 runs of n blinks is below sqrt(n / 5).
    assert abs(np.mean(counts) - rate * minutes) < 4 * np.sqrt(rate * minutes / 5)


def test_short_clips_blink_at_the_rate_too() -> None:
    counts = [len(blink_times(heard(np.full(200, -20.0)), 20.0, seed)) for seed in range(3000)]  # 4 s without a pause
    wanted = 20.0 * (4 - BLINK) / 60  # none begins that would not be over with the clip
    assert abs(np.mean(counts) - wanted) < 4 * np.sqrt(wanted / 3000)


def test_blinks_never_overlap_and_fit_into_the_clip() -> None:
    prosody = talk(300)
    times = blink_times(prosody, 60.0, 3)
    assert np.diff(times).min() >= BLINK
    assert times.min() >= 0
    assert times.max() + BLINK <= 300


def test_most_blinks_begin_in_pauses() -> None:
    prosody = talk(600)
    breaks = pauses(prosody)
    silent = (breaks[:, 1] - breaks[:, 0]).sum() / 600
    times = blink_times(prosody, 15.0, 0)
    inside = [((breaks[:, 0] <= time) & (time < breaks[:, 1])).any() for time in times]
    assert silent < 0.2
    assert np.mean(inside) > 0.7


def test_pauses_are_found_and_stops_are_not() -> None:
    loudness = np.full(200, -20.0)
    loudness[50:80] = -70
    loudness[120:124] = -70  # 80 ms: a stop consonant
    loudness[180:] = -70
    np.testing.assert_allclose(pauses(heard(loudness)), [[1.0, 1.6], [3.6, 4.0]])


def test_noise_of_the_room_is_silence_too() -> None:
    prosody = talk(60)
    noisy = prosody._replace(loudness=np.maximum(prosody.loudness, -45))
    assert len(pauses(noisy)) == len(pauses(prosody)) > 10


def test_each_blink_shuts_both_eyes_fast_and_opens_them_slowly() -> None:
    prosody = talk(120)
    lively = enliven(still(prosody), prosody, Life(blinks=1.0, seed=5))
    assert lively.names[1:] == BLINK_SHAPES
    lids = lively.weights[:, 1:]
    times = blink_times(prosody, 20.0, 5)
    for time in times:
        around = slice(int(time * FPS), int((time + BLINK) * FPS) + 2)
        both = lids[around].min(axis=1)
        assert both.max() == 1.0
        assert (both == 1.0).sum() / FPS >= 1 / 24 - 1 / FPS
        assert np.argmax(both) < len(both) - 1 - np.argmax(both[::-1])
    shut = lids[:, 0] > 0
    share = len(times) * BLINK / 120
    assert abs(shut.mean() - share) < 0.2 * share
    assert OPENING > 1.4 * CLOSING
    assert not np.array_equal(lids[:, 0], lids[:, 1]), "one eye is a little later"


@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0])
@pytest.mark.parametrize("shift", [0.0, 0.31, 0.77])
def test_a_film_shows_every_blink_shut(fps: float, shift: float) -> None:
    from inference.motion import sample_weights

    prosody = talk(60)
    lively = enliven(still(prosody), prosody, Life(blinks=1.0))
    frames = (np.arange(int(59 * fps)) + shift) / fps
    lids = sample_weights(lively, frames)[:, 1]
    times = blink_times(prosody, 20.0)
    assert len(times) > 5
    for time in times:
        if time < 58:
            assert lids[(frames >= time) & (frames <= time + BLINK)].max() > 0.9


def test_the_seed_decides() -> None:
    prosody = talk(60)
    motion, prosody = still(prosody), prosody._replace(jaw=np.abs(np.sin(np.arange(len(prosody.jaw)))))
    life = Life(blinks=1.0, brows=1.0, nod=1.0, seed=7)
    once, again = (enliven(motion, prosody, life).weights for _ in range(2))
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(nod_of(prosody, life), nod_of(prosody, life))
    other = Life(blinks=1.0, brows=1.0, nod=1.0, seed=8)
    assert not np.array_equal(enliven(motion, prosody, other).weights, once)
    assert not np.array_equal(nod_of(prosody, other), nod_of(prosody, life))


def test_off_by_default_and_each_by_itself() -> None:
    prosody = talk(30)
    motion = still(prosody)
    assert enliven(motion, prosody, Life()) is motion
    assert not nod_of(prosody, Life()).any()
    assert enliven(motion, prosody, Life(brows=1.0)).names == ("jawOpen", *BROW_SHAPES)
    half = enliven(motion, prosody, Life(blinks=0.5))
    assert half.weights[:, 1:].max() == pytest.approx(0.5)


def test_what_the_network_does_itself_stays() -> None:
    prosody = talk(30)
    motion = motion_with(prosody.jaw, "eyeBlinkLeft", "eyeBlinkRight")
    lively = enliven(motion, prosody, Life(blinks=1.0, brows=1.0))
    assert lively.names == (*motion.names, *BROW_SHAPES)
    np.testing.assert_array_equal(lively.weights[:, :3], motion.weights)


def test_amounts_may_change_over_time() -> None:
    prosody = talk(60)
    fade = np.linspace(0, 1, len(prosody.jaw))
    full = enliven(still(prosody), prosody, Life(blinks=1.0, brows=1.0)).weights
    faded = enliven(still(prosody), prosody, Life(blinks=fade, brows=fade)).weights
    np.testing.assert_allclose(faded[:, 1:], full[:, 1:] * fade[:, None], atol=1e-6)


def stressed(at: list[float], seconds: float = 20.0) -> Prosody:
    """Even syllables at 4 Hz, with those nearest to `at` 8 dB louder and opened wider."""
    times = np.arange(round(seconds * FPS)) / FPS
    loudness, jaw = np.full(len(times), -60.0), np.zeros(len(times))
    for middle in np.arange(0.125, seconds, 0.25):
        extra = min(abs(middle - stress) for stress in at) < 0.13
        bump = np.exp(-0.5 * ((times - middle) / 0.04) ** 2)
        loudness = np.maximum(loudness, -60 + bump * (38 if extra else 30))
        jaw = np.maximum(jaw, bump * (0.5 if extra else 0.2))
    return Prosody(FPS, loudness, jaw)


def test_accents_are_the_syllables_that_stand_out() -> None:
    wanted = [2.125, 5.125, 9.625, 14.125]
    found = thinned(accents_of(stressed(wanted)), 0.4)
    strongest = np.sort(found.seconds[np.argsort(-found.strength)[:4]])
    np.testing.assert_allclose(strongest, wanted, atol=0.05)


def test_brows_rise_before_the_accent_and_slowly() -> None:
    prosody = stressed([10.125])
    lively = enliven(still(prosody), prosody, Life(brows=1.0))
    inner = lively.weights[:, lively.names.index("browInnerUpLeft")]
    assert abs(inner.argmax() / FPS - 10.065) < 0.05
    assert inner[round(9.7 * FPS)] == 0
    assert np.abs(np.diff(inner)).max() * FPS < 1.5 * inner.max() / 0.25, "no faster than its rise"


def test_thinned_keeps_the_strongest_apart() -> None:
    rng = np.random.default_rng(0)
    many = Accents(np.sort(rng.uniform(0, 100, 400)), rng.uniform(0, 1, 400))
    kept = thinned(many, 1.0)
    assert np.diff(kept.seconds).min() >= 1.0
    assert many.strength.max() in kept.strength
    for second, strength in zip(*many, strict=True):
        near = np.abs(kept.seconds - second) < 1.0
        assert kept.strength[near].max() >= strength, "left out only for a stronger one"


def test_the_nod_follows_stress_and_rests_at_the_ends() -> None:
    prosody = stressed([10.125])
    nods = np.stack([nod_of(prosody, Life(nod=1.0, seed=seed)) for seed in range(20)])
    assert np.abs(nods[:, [0, -1]]).max() == 0
    assert abs(nods[:, :, 0].mean(axis=0).argmax() / FPS - 10.125) < 0.1, "the chin goes down on the accent"
    assert np.degrees(np.abs(nods).max()) < 8
    np.testing.assert_allclose(nod_of(prosody, Life(nod=2.0, seed=1)), 2 * nods[1], atol=1e-6)


def test_prosody_of_a_motion() -> None:
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    basis = np.zeros((2, 4, 3), np.float32)
    loudness = np.zeros(3)
    face = FaceMotion(FPS, 0.0, ("mouthClose", "jawOpen"), weights, basis)
    np.testing.assert_array_equal(prosody_of(face, loudness).jaw, [1, 3, 5])
    unnamed = FaceMotion(FPS, 0.0, ("a", "b"), weights, basis, "vertices")
    np.testing.assert_array_equal(prosody_of(unnamed, loudness).jaw, [1, 5, 9])
    assert prosody_of(face, loudness).seconds == pytest.approx(0.06)


def test_loudness_of_a_tone() -> None:
    samples = np.zeros(16000, np.float32)
    samples[8000:] = np.sin(2 * np.pi * 400 * np.arange(8000) / 16000)
    loudness = loudness_of(Speech(samples), FPS, 51)  # one frame more than there is speech
    np.testing.assert_allclose(loudness[:25], -100, atol=1e-3)
    np.testing.assert_allclose(loudness[25:50], -3.01, atol=0.01)
    assert loudness[50] == pytest.approx(-100)


def test_loudness_of_hours_takes_little_memory() -> None:
    """Squared at once, four hours would be two gigabytes. Each frame is what it is alone."""
    samples = np.random.default_rng(3).normal(size=16000 * 300).astype(np.float32)
    tracemalloc.start()
    loudness = loudness_of(Speech(samples), 62.5, 18751)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < samples.nbytes
    alone = 10 * np.log10(np.square(samples.reshape(-1, 256), dtype=np.float64).mean(axis=1))
    np.testing.assert_allclose(loudness[:-1], alone, atol=1e-4)
    assert loudness[-1] == pytest.approx(-100)


@pytest.mark.parametrize("frames", [1, 2, 7, 40])
def test_short_and_silent_clips(frames: int) -> None:
    for loudness in (np.full(frames, -100.0), np.linspace(-80, -10, frames)):
        prosody = heard(loudness)
        life = Life(blinks=1.0, rate=60.0, brows=1.0, nod=1.0)
        lively = enliven(still(prosody), prosody, life)
        assert np.isfinite(lively.weights).all()
        assert np.isfinite(nod_of(prosody, life)).all()


def test_blink_shapes_shut_flame_s_eyes(shared: object) -> None:
    from pathlib import Path

    with np.load(Path(str(shared)) / "flame" / "flame2023open_subset.npz", allow_pickle=False) as data:
        vertices, faces = data["v_template"].astype(float), data["faces"]
    for name, first in zip(BLINK_SHAPES, (3931, 4477), strict=True):
        middle = vertices[first : first + 546, 0].mean()
        shut = vertices + basis_of((name,))[0]
        assert visible_eye(vertices, faces, middle) > 7e-3
        assert visible_eye(shut, faces, middle) < 0.5e-3


def visible_eye(vertices: np.ndarray, faces: np.ndarray, x: float) -> float:
    """Height in metres of the eyeball that is seen from the front at `x`; FLAME's last 1092 vertices are eyeballs."""
    heights = np.arange(0.0, 0.045, 1e-4)
    nearest = {part: np.full(len(heights), -np.inf) for part in ("skin", "eye")}
    corners = vertices[faces]
    crossed = (
        (corners[:, :, 0].min(axis=1) <= x) & (corners[:, :, 0].max(axis=1) >= x) & (corners[:, :, 2].min(axis=1) > 0)
    )
    for face in np.flatnonzero(crossed):
        a, b, c = corners[face]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        u = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (heights - a[1])) / area
        v = ((b[0] - a[0]) * (heights - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
        inside = (u >= 0) & (v >= 0) & (u + v <= 1)
        depth = nearest["eye" if faces[face][0] >= 3931 else "skin"]
        depth[inside] = np.maximum(depth[inside], (a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2]))[inside])
    return float((nearest["eye"] > nearest["skin"]).sum() * 1e-4)
