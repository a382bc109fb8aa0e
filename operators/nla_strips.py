# SPDX-License-Identifier: GPL-3.0-or-later
"""NLA strips of bakes: in tracks of our own, one line beside another, one above another where they overlap.

Blender makes new tracks on top, and strips that hold cover what lies below at every frame. What the user animates there
is left to him (`animation.users_below`); his active action, and tracks that he makes later, play above ours.

On a library override Blender saves no strip that was added to a track of the library's, or taken out of it. There our
tracks lie above the library's, and strips of the library's give way by being muted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise, takewhile
from typing import Any

import bpy

from ..inference.hand_edits import Move
from . import ids, keyframes, stored_result
from .kept_strips import KeptStrip

_TOUCH = 0.5  # frames that lines may have in common and still follow each other


def is_ours(action: bpy.types.Action, slot: Any | None = None) -> bool:
    """Whether a bake made `action`; false for an action of the user's that holds a bake among his own curves.

    slot: who plays it; one that came from elsewhere, as Blender's Merge Animation moves them, is not of the bake.
    """
    ours = ids.MARK in action and ids.GUEST not in action
    return ours and (slot is None or action.get(ids.SLOT, slot.handle) == slot.handle)


def tracks_of(data: bpy.types.AnimData) -> list[bpy.types.NlaTrack]:
    """The tracks of this file that hold bakes and nothing else, from the lowest up, whatever their names are now."""
    return [track for track in _in_use(data) if _all_ours(track)]


def of_library(data: bpy.types.AnimData) -> list[bpy.types.NlaStrip]:
    """Strips of bakes that a library override has from its library."""
    return [strip for track in data.nla_tracks if track.is_override_data for strip in bakes_in(track)]


def bakes_in(track: bpy.types.NlaTrack) -> list[bpy.types.NlaStrip]:
    """The strips of `track` that play bakes."""
    return [strip for strip in track.strips if strip.action is not None and is_ours(strip.action, strip.action_slot)]


def gave_way(data: bpy.types.AnimData, strip: bpy.types.NlaStrip) -> bool:
    """Whether a strip of the library's was muted for a bake of this file, which plays in its place."""
    if not strip.mute or strip not in of_library(data):
        return False
    assigned = data.action is not None and is_ours(data.action)
    return assigned or bool(in_the_way(data, *_spoken_in(strip)))


def is_held(data: bpy.types.AnimData, strip: bpy.types.NlaStrip) -> bool:
    """Whether strips beneath `strip` hold all that it animates where it does not play; it need not, then.

    Those may be bakes in meta strips, or in Actions of the user's: `strip` would silence them.
    """
    held: set[str] = set()
    for track in takewhile(lambda track: strip not in track.strips[:], data.nla_tracks):
        for other in track.strips if not track.mute else ():
            if other.extrapolation == "HOLD" and not other.mute:
                held |= _paths(other)
    return bool(held) and _paths(strip) <= held


def around(keys: bpy.types.Key | None) -> str:
    """Name of a meta strip in which a bake lies, "" for none: there it plays, but nothing can be done with it."""
    data = keys.animation_data if keys else None
    for track in data.nla_tracks if data else ():
        for meta in track.strips:
            if any(inner.action is not None and is_ours(inner.action) for inner in with_inner(meta.strips)):
                return str(meta.name)
    return ""


def with_inner(strips: Iterable[bpy.types.NlaStrip]) -> Iterator[bpy.types.NlaStrip]:
    """`strips`, and those that the meta strips among them hold."""
    for strip in strips:
        yield strip
        yield from with_inner(strip.strips)


def spoken(action: bpy.types.Action, slot: Any | None) -> tuple[float, float]:
    """Frames of `action` between which its speech is heard; its keys go on until the face has come to rest.

    slot: holds the bake; its keys say where that is, when the bake itself does not.
    """
    return stored_result.spoken(stored_result.description(action)) or keyframes.span(action, slot)


def _spoken_in(strip: bpy.types.NlaStrip) -> tuple[float, float]:
    """The same on the timeline, as `strip` plays it."""
    if strip.use_reverse or strip.use_animated_time or strip.repeat != 1:
        return float(strip.frame_start), float(strip.frame_end)
    first, last = spoken(strip.action, strip.action_slot)
    along = strip.frame_start - strip.scale * strip.action_frame_start
    return along + strip.scale * first, along + strip.scale * last


def _meeting(strips: Iterable[bpy.types.NlaStrip], first: float, last: float) -> list[bpy.types.NlaStrip]:
    spans = [(strip, *_spoken_in(strip)) for strip in strips]
    return [strip for strip, begin, end in spans if begin < last - _TOUCH and end > first + _TOUCH]


def in_the_way(data: bpy.types.AnimData, first: float, last: float) -> list[bpy.types.NlaStrip]:
    """Strips of earlier bakes whose speech is heard between the frames `first` and `last`, too."""
    return _meeting((strip for track in _in_use(data) for strip in bakes_in(track)), first, last)


def given_way(data: bpy.types.AnimData, first: float, last: float) -> list[bpy.types.NlaStrip]:
    """The same of the library's, which make room for a bake of this file."""
    return _meeting((strip for strip in of_library(data) if not strip.mute), first, last)


def other_lines(data: bpy.types.AnimData, first: float, last: float) -> bool:
    """Whether strips play speech of another time than that from frame `first` to `last`."""
    replaced = in_the_way(data, first, last)
    return any(strip not in replaced and not strip.mute for track in _in_use(data) for strip in bakes_in(track))


def place(
    data: bpy.types.AnimData,
    action: bpy.types.Action,
    slot: Any,
    undo: ExitStack,
    move: Move | None = None,
    rate: float = 1.0,
) -> str:
    """Put `action` into our tracks, in place of earlier bakes that speak at its time; returns what it replaced.

    How a single one was blended, and with what influence, is taken over; move, rate: as of `lay_anew`.
    """
    tracks = tracks_of(data)
    former = [KeptStrip.of(strip) for strip in in_the_way(data, *spoken(action, slot))]
    replaced = clear(data, *spoken(action, slot), undo)
    # Outside of strips that hold nothing, Blender 5.0 takes 1 for the resting value of a shape key.
    one = KeptStrip.whole(action, slot, {"name": action.name, "extrapolation": "HOLD"})
    _lay(data, [one.blended_as(former[0], move, rate) if len(former) == 1 else one], tracks, undo)
    return replaced


def clear(data: bpy.types.AnimData, first: float, last: float, undo: ExitStack) -> str:
    """Take away strips of bakes that speak in the frames `first` to `last`; returns the last one's action or ""."""
    replaced = ""
    for strip in in_the_way(data, first, last):
        replaced = keep(strip.action, undo)
        _take(data, strip, undo)
    for strip in given_way(data, first, last):
        replaced = str(strip.action.name)
        _take(data, strip, undo)
    return replaced


def follow(spans: Sequence[tuple[bpy.types.NlaStrip, tuple[float, float]]]) -> None:
    """Let strips that played all of their actions, each of these frames, play all of them again, as they are now.

    What stays of an action keeps its place on the timeline. Strips that were trimmed or cut in two stay as they are.
    Blender pushes a strip away that another one grows into; so those that move later do so from the last to the first,
    the others from the first to the last.
    """
    spans = sorted((each for each in spans if _plays_all(*each)), key=lambda each: each[0].frame_start)
    grown = [(strip, before, keyframes.span(strip.action, strip.action_slot)) for strip, before in spans]
    later = [(strip, now) for strip, before, now in grown if now[0] > before[0]]
    earlier = [(strip, now) for strip, before, now in grown if now[0] <= before[0]]
    for strip, now in (*reversed(later), *earlier):
        if now[0] >= strip.action_frame_end or now[1] <= strip.action_frame_start:  # neither end passes the other
            KeptStrip.of(strip).playing(now).take_place(strip)
            continue
        strip.action_frame_end = min(now[1], strip.action_frame_end)
        if now[0] != strip.action_frame_start:
            start = strip.frame_start + (now[0] - strip.action_frame_start) * strip.scale
            strip.action_frame_start = now[0]
            strip.frame_start = start
        strip.action_frame_end = now[1]


def _plays_all(strip: bpy.types.NlaStrip, span: tuple[float, float]) -> bool:
    return abs(strip.action_frame_start - span[0]) < 0.5 and abs(strip.action_frame_end - span[1]) < 0.5


def lay_anew(data: bpy.types.AnimData, moved: Sequence[tuple[bpy.types.NlaStrip, Move, float]]) -> int:
    """Let strips play all of their actions, whose keys have moved, still as far from the action's own frames.

    They are made anew, since Blender lets no strip pass another; what the animator set is carried over, and what he
    keyed goes with each strip's move and rate, as its action's hand edits did. Only their modifiers cannot be made by
    a script: strips with some are moved as they are where that can be. Returns how many lost theirs.
    """
    with_modifiers = sum(len(strip.modifiers) > 0 for strip, _, _ in moved)
    if with_modifiers and _slid(data, moved):
        return 0
    with ExitStack() as undo:
        tracks = tracks_of(data)
        kept = [_take(data, strip, undo).following(move, rate) for strip, move, rate in moved]
        _lay(data, kept, tracks, undo)
        undo.pop_all()
    return with_modifiers


def _slid(data: bpy.types.AnimData, moved: Sequence[tuple[bpy.types.NlaStrip, Move, float]]) -> bool:
    """`lay_anew` for strips that need not pass others, nor come to lie on their frames; false where they do."""
    goals = {strip: KeptStrip.of(strip).following(move, rate) for strip, move, rate in moved}
    spans: dict[bpy.types.NlaStrip, tuple[float, float]] = {}
    for track in _in_use(data):
        there = [goals.get(strip, strip) for strip in track.strips]
        places = [
            (one.start, one.end) if isinstance(one, KeptStrip) else (one.frame_start, one.frame_end) for one in there
        ]
        if places != sorted(places):
            return False
        spans |= dict(zip(track.strips, places, strict=True))
    places = sorted(spans.values())
    if not goals.keys() <= spans.keys() or any(end + 1 > begin for (_, end), (begin, _) in pairwise(places)):
        return False
    in_order = sorted(goals, key=lambda strip: strip.frame_start)
    later = [strip for strip in in_order if goals[strip].start > strip.frame_start]
    earlier = [strip for strip in in_order if goals[strip].start <= strip.frame_start]
    moves = {strip: (move, rate) for strip, move, rate in moved}
    for strip in (*reversed(later), *earlier):
        goals[strip].take_place(strip)
        for path, contents in goals[strip].curves.items():
            fcurve = strip.fcurves.find(path)
            keyframes.write(fcurve, contents.keys)
            keyframes.time_modifiers(fcurve, contents.modifiers)
        keyframes.move_modifiers(strip, *moves[strip])
    return True


def _lay(
    data: bpy.types.AnimData, kept: Sequence[KeptStrip], tracks: Sequence[bpy.types.NlaTrack], undo: ExitStack
) -> None:
    """Make strips in `tracks`, in the order of time: one that begins while another still plays lies above it.

    So line after line is heard from its beginning. What lies above holds nothing, or it would silence what is beneath.
    """
    waiting, tracks = list(kept), list(tracks)
    while waiting:
        waiting.sort(key=lambda one: one.start)
        one = waiting.pop(0)
        touched = [track for track in tracks if _touching(track, one)]
        after = [strip for track in touched for strip in _touching(track, one) if strip.frame_start > one.start]
        if after:
            waiting += [one, *(_take(data, strip, undo) for strip in after)]
            continue
        above = tracks.index(touched[-1]) + 1 if touched else 0
        if above == len(tracks):
            track = data.nla_tracks.new(prev=tracks[-1]) if tracks else data.nla_tracks.new()
            undo.callback(data.nla_tracks.remove, track)
            track.name = ids.TRACK
            tracks.append(track)
        else:
            track = tracks[above]
        strip = one.restore(track)
        undo.callback(track.strips.remove, strip)
        if strip.extrapolation == "HOLD" and is_held(data, strip):
            strip.extrapolation = "NOTHING"


def _touching(track: bpy.types.NlaTrack, one: KeptStrip) -> list[bpy.types.NlaStrip]:
    """Strips of `track` on frames of `one`."""
    return [strip for strip in track.strips if strip.frame_start < one.end + 1 and strip.frame_end > one.start - 1]


def _take(data: bpy.types.AnimData, strip: bpy.types.NlaStrip, undo: ExitStack) -> KeptStrip:
    """Take a strip out of its track; one of the library's is muted. `undo` learns how to put it back."""
    track = next(track for track in data.nla_tracks if strip in track.strips[:])
    kept = KeptStrip.of(strip)
    kept.settings["mute"] |= track.mute  # what was put aside stays so in another track
    if track.is_override_data:
        undo.callback(setattr, strip, "mute", strip.mute)
        strip.mute = True
    else:
        undo.callback(KeptStrip.of(strip).restore, track)
        track.strips.remove(strip)
    return kept


def keep(action: bpy.types.Action, undo: ExitStack) -> str:
    """Protect `action` from being lost on saving; returns its name."""
    undo.callback(setattr, action, "use_fake_user", action.use_fake_user)
    action.use_fake_user = True
    return str(action.name)


def _in_use(data: bpy.types.AnimData) -> list[bpy.types.NlaTrack]:
    """Tracks of this file; what lies in a muted one was put aside, and stays as it is."""
    return [track for track in data.nla_tracks if not track.is_override_data and not track.mute]


def _paths(strip: bpy.types.NlaStrip) -> set[str]:
    """What `strip` animates, itself or by the strips within it."""
    playing = [each for each in with_inner([strip]) if each.action_slot]
    return {path for each in playing for path in keyframes.curves_of(keyframes.bag_of(each.action, each.action_slot))}


def _all_ours(track: bpy.types.NlaTrack) -> bool:
    """Whether only bakes lie in `track`; an empty one is ours if it has our name."""
    return len(bakes_in(track)) == len(track.strips) > 0 or (not track.strips and track.name.startswith(ids.TRACK))
