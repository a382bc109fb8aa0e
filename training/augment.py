# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound that is not in the corpus: noises, rooms, channels and levels, made of random numbers by seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from .config import SAMPLE_RATE


def coloured_noise(random: np.random.Generator, count: int, slope: float) -> np.ndarray:
    """Gaussian noise of unit power with a spectrum falling as frequency^-slope (0 white, 1 pink, 2 brown)."""
    spectrum = fft.rfft(random.standard_normal(count).astype(np.float32))
    spectrum *= np.maximum(np.arange(len(spectrum)), 20) ** (-slope / 2)
    return unit_power(fft.irfft(spectrum, count))


def hum(random: np.random.Generator, count: int) -> np.ndarray:
    """Mains hum or a fan: 50 or 60 Hz and harmonics with a little wobble, unit power."""
    time = np.arange(count) / SAMPLE_RATE
    base = random.choice([50.0, 60.0, random.uniform(70, 400)]) * (1 + 0.002 * np.sin(time * random.uniform(0.5, 5)))
    phase = 2 * np.pi * np.cumsum(base) / SAMPLE_RATE
    harmonics = range(1, int(random.integers(2, 12)))
    partials = [random.uniform(0.1, 1) / k * np.sin(k * phase + random.uniform(0, 6)) for k in harmonics]
    return unit_power(np.sum(partials, axis=0))


def tones(random: np.random.Generator, count: int) -> np.ndarray:
    """Chords and a tune of decaying, vibrating partials over noise beats: unit power. No voice in it."""
    sound = np.zeros(count, np.float32)
    beat = int(SAMPLE_RATE * random.uniform(0.15, 0.6))
    scale = 55.0 * 2 ** (random.integers(0, 12) / 12)
    for start in range(0, count, beat):
        time = np.arange(min(int(SAMPLE_RATE * 1.2), count - start)) / SAMPLE_RATE
        envelope = np.minimum(time / random.choice([0.005, 0.08]), 1) * np.exp(-time * random.uniform(1, 8))
        for _ in range(int(random.integers(1, 4))):
            step = random.choice([0, 2, 4, 5, 7, 9, 11]) + 12 * random.integers(0, 4)
            pitch = scale * 2 ** (step / 12)
            vibrato = 1 + random.choice([0, 0.01]) * np.sin(2 * np.pi * random.uniform(4, 7) * time) * np.minimum(
                time, 1
            )
            phase = 2 * np.pi * np.cumsum(pitch * vibrato) / SAMPLE_RATE
            decay = random.uniform(0.6, 2.0)
            for k in range(1, int(min(10, 7000 // pitch)) + 1):
                sound[start : start + len(time)] += envelope * k**-decay * np.sin(k * phase)
        if random.random() < 0.5:
            drum = random.standard_normal(len(time)) * np.exp(-time * random.uniform(15, 60))
            sound[start : start + len(time)] += 2 * random.random() * drum
    return unit_power(sound)


def clicks(random: np.random.Generator, count: int) -> np.ndarray:
    """Keyboard, mouse, knocks: short decaying bursts, unit power."""
    sound = coloured_noise(random, count, 1.0) * 0.01
    for start in random.integers(0, count, max(1, count // 8000)):
        time = np.arange(min(3200, count - start)) / SAMPLE_RATE
        sound[start : start + len(time)] += random.standard_normal(len(time)) * np.exp(-time * random.uniform(30, 300))
    return unit_power(sound)


def breath(random: np.random.Generator, count: int) -> np.ndarray:
    """Breathing: band-shaped noise swelling and fading, unit power."""
    time = np.arange(count) / SAMPLE_RATE
    swell = np.maximum(0, np.sin(2 * np.pi * (time * random.uniform(0.25, 0.7) + random.random()))) ** 2
    return unit_power(coloured_noise(random, count, random.uniform(0.2, 1.0)) * (swell + 0.02))


def laughter(random: np.random.Generator, count: int) -> np.ndarray:
    """Bouts of laughing, voiced or breathed, with pauses between and gasps after: unit power.

    Rate and pitch of the calls span what Bachorowski, Smoski and Owren 2001 measured (The acoustic features of human
    laughter, J. Acoust. Soc. Am. 110); the vowel is a central one, as there, since nothing shapes it.
    """
    sound = random.standard_normal(count).astype(np.float32) * 10 ** random.uniform(-4, -2)
    place = int(random.uniform(0, 1.5) * SAMPLE_RATE)
    while place < count:
        pitch, voiced = np.exp(random.uniform(np.log(140), np.log(650))), random.random() < 0.7
        formants = np.array([random.uniform(450, 900), random.uniform(1000, 1800), random.uniform(2300, 3000), 3700.0])
        rate, fall = random.uniform(3.5, 6.5), random.uniform(0.9, 1.0)
        calls = int(random.integers(3, 14))
        for number in range(calls):
            length = int(SAMPLE_RATE * random.uniform(0.4, 0.8) / rate)
            height = pitch * fall**number * random.uniform(0.92, 1.08)
            call = _vocal_tract(_call(random, length, height, voiced), formants * random.uniform(0.96, 1.04, 4))
            end = min(place + length, count)
            if place < end:
                sound[place:end] += (call * random.uniform(0.5, 1) * (1 - 0.6 * number / calls))[: end - place]
            place += int(SAMPLE_RATE / rate * random.uniform(0.9, 1.1))
        if random.random() < 0.5:
            gasp = breath(random, int(0.35 * SAMPLE_RATE))[: max(0, count - place)]
            sound[place : place + len(gasp)] += 0.15 * np.hanning(len(gasp)) * gasp
        place += int(random.uniform(0.4, 2.5) * SAMPLE_RATE)
    return unit_power(sound)


def _call(random: np.random.Generator, count: int, pitch: float, voiced: bool) -> np.ndarray:
    """One "ha" at the glottis: a breathed onset, then, when voiced, harmonics of a pitch that rises and falls."""
    time = np.linspace(0, 1, count)
    air = random.standard_normal(count) * np.exp(-6 * time if voiced else -2 * time) * 0.3
    if not voiced:
        return air * np.sin(np.pi * time)
    glide = pitch * (1 + random.uniform(-0.05, 0.25) * np.sin(np.pi * time) + 0.01 * random.standard_normal())
    phase = 2 * np.pi * np.cumsum(glide) / SAMPLE_RATE
    tilt = random.uniform(1.0, 1.8)
    pulses = sum(k**-tilt * np.sin(k * phase) for k in range(1, int(7000 // (1.3 * pitch)) + 1))
    return air + pulses * np.sin(np.pi * np.clip((time - 0.1) / 0.9, 0, 1)) ** 0.7


def _vocal_tract(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """`source` through resonances at `formants` (Hz) of a tenth of their height in width; unit power."""
    frequency = np.fft.rfftfreq(len(source), 1 / SAMPLE_RATE)[:, None] / formants
    response = np.prod(1 / np.hypot(1 - frequency**2, 0.1 * frequency), axis=1) + 0.05
    return unit_power(fft.irfft(fft.rfft(source) * response, len(source)))


def unit_power(sound: np.ndarray) -> np.ndarray:
    """Scaled to mean square 1, float32; silence stays silence."""
    return (sound / np.sqrt(np.mean(np.square(sound, dtype=np.float32)) + 1e-12)).astype(np.float32)


class NoiseBank:
    """Half a minute of each noise, made once; slices of it cost nothing. `music`: pieces to take slices of as well.

    Babble is made anew from `voices` each time: in days of training a network learns any fixed mixture by heart.
    """

    def __init__(
        self,
        random: np.random.Generator,
        voices: Sequence[np.ndarray],
        music: Sequence[np.ndarray] = (),
        seconds: float = 24.0,
    ) -> None:
        count = int(seconds * SAMPLE_RATE)
        self.hisses = [coloured_noise(random, count, slope) for slope in (0.0, 0.5, 1.0, 1.5, 2.0)]
        self.hisses += [hum(random, count) for _ in range(4)]
        self.sounds = [tones(random, count) for _ in range(3)] + [clicks(random, count) for _ in range(2)]
        self.sounds += [breath(random, count) for _ in range(3)]
        self.voices, self.music = voices, music

    def still(self, random: np.random.Generator, count: int) -> np.ndarray:
        """`count` samples of a noise that does not change: hiss, rumble, hum; unit power."""
        return _slice(random, count, self.hisses)

    def lively(self, random: np.random.Generator, count: int) -> np.ndarray:
        """`count` samples of a noise that does: music, knocks, breath, laughter; unit power where all of it is loud."""
        kind = random.random()
        if kind < 0.2:  # made anew, as babble is
            return laughter(random, count)
        if len(self.music) and kind < 0.7:
            return unit_power(_slice(random, count, self.music))
        return _slice(random, count, self.sounds)

    def babble(self, random: np.random.Generator, count: int) -> np.ndarray:
        """`count` samples of three to eight of the voices at once, unit power."""
        mix = np.zeros(count, np.float32)
        for voice in random.choice(len(self.voices), random.integers(3, 9)):
            speech = self.voices[voice]
            mix += unit_power(np.take(speech, np.arange(count) + random.integers(len(speech)), mode="wrap"))
        return unit_power(mix)


def _slice(random: np.random.Generator, count: int, kinds: Sequence[np.ndarray]) -> np.ndarray:
    """`count` samples of one of `kinds` from a random place."""
    noise = kinds[int(random.integers(len(kinds)))]
    return np.take(noise, np.arange(count) + random.integers(len(noise)), mode="wrap")


def channel(random: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    """A room, a microphone and a line in one filter: exponentially decaying reflections, tilt, bumps, band limits."""
    size = fft.next_fast_len(len(sound) + 6400, real=True)
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    decibels = random.uniform(-4, 4) * np.log2(np.maximum(frequency, 60) / 1000)  # tilt per octave
    decibels = np.clip(decibels, -12, 12)
    for _ in range(2):
        centre, width = np.exp(random.uniform(np.log(100), np.log(6000))), random.uniform(0.3, 1.5)
        octaves = np.log2(np.maximum(frequency, 20) / centre)
        decibels += random.uniform(-8, 8) * np.exp(-np.square(octaves / width))
    kind = random.random()
    if kind < 0.12:  # telephone
        decibels -= 60 * ((frequency < 280) | (frequency > 3500))
    elif kind < 0.3:  # narrow codecs, muffled microphones
        decibels -= 50 * (frequency > random.uniform(3400, 7000))
    response = 10 ** (decibels / 20)
    spectrum = fft.rfft(sound, size) * response.astype(np.float32)
    if random.random() < 0.4:
        decay = random.uniform(0.08, 0.4)  # RT60, seconds
        time = np.arange(6400) / SAMPLE_RATE
        room = random.standard_normal(6400) * np.exp(-6.9 * time / decay) * (time > 0.002)
        room *= 10 ** (random.uniform(-16, 0) / 20) / np.sqrt(np.square(room).sum() + 1e-9)
        room[0] = 1.0
        spectrum *= fft.rfft(room.astype(np.float32), size)
    return fft.irfft(spectrum, size)[: len(sound)].astype(np.float32)


def drift(random: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    """Words of one sentence differ by 20 dB in loudness: a level that wanders by up to 12 dB, anew each half second."""
    points = np.arange(0, len(sound) + SAMPLE_RATE // 2, SAMPLE_RATE // 2)
    decibels = random.uniform(0, 12) * random.uniform(-1, 0, len(points))
    return sound * (10 ** (np.interp(np.arange(len(sound)), points, decibels) / 20)).astype(np.float32)


def degrade(random: np.random.Generator, sound: np.ndarray, bank: NoiseBank, babble_share: float) -> np.ndarray:
    """Wandering level, room and channel, noise at 0…35 dB under the speech, any level: the same, worse recorded.

    `babble_share` of all calls add babble, .3 another noise (none of it babble where the bank has no voices).
    """
    if random.random() < 0.3:
        sound = drift(random, sound)
    if random.random() < 0.55:
        sound = channel(random, sound)
    power = np.mean(np.square(sound)) + 1e-10
    chance = random.random()
    if chance < 0.3 + babble_share:
        if chance < 0.18:
            noise, ratio = bank.still(random, len(sound)), random.uniform(3, 35)
        elif chance < 0.3 or not bank.voices:
            noise, ratio = bank.lively(random, len(sound)), random.uniform(0, 25)
        else:
            noise, ratio = bank.babble(random, len(sound)), random.uniform(2, 18)
        sound = sound + noise * np.sqrt(power * 10 ** (-ratio / 10), dtype=np.float32)
    if random.random() < 0.1:  # overdriven
        peak = np.quantile(np.abs(sound), random.uniform(0.95, 0.999)) + 1e-6
        sound = np.clip(sound, -peak, peak)
    gain = random.uniform(-30, 6) if random.random() < 0.7 else 0.0
    return np.clip(sound * 10 ** (gain / 20), -1, 1).astype(np.float32)
