"""Which segments are worth merging: few files, and every byte written a few times only.

A segment's tier is the logarithm of the bytes of it that are still needed. FAN_OUT segments of one
tier become one of the next, so n appends leave O(log n) segments and write O(n log n) bytes. What
has reached half of LARGEST is left alone, so that no append has to rewrite everything.
"""

from __future__ import annotations

from collections.abc import Sequence

FAN_OUT = 8
SMALLEST = 8 * 1024
"""Bytes up to FAN_OUT times which all segments are alike."""
LARGEST = SMALLEST * FAN_OUT**6 * 2
"""4 GiB: what one segment has at most, unless a single document has more."""


def tier(size: int) -> int:
    """Of a segment of which ``size`` bytes are needed."""
    found = 0
    while size >= SMALLEST * FAN_OUT ** (found + 1):
        found += 1
    return found


def worth_merging(sizes: Sequence[int]) -> list[int]:
    """Places of the segments to become one, or none. ``sizes``: bytes that are needed of each."""
    tiers = [tier(size) for size in sizes]
    for level in sorted(set(tiers)):
        same = [at for at, its in enumerate(tiers) if its == level and 2 * sizes[at] < LARGEST]
        if len(same) >= FAN_OUT:
            return _fitting(same[:FAN_OUT], sizes, LARGEST)
    return []


def groups(sizes: Sequence[int], largest: int) -> list[list[int]]:
    """All places, in order, in groups that become one segment each, of ``largest`` bytes at most.

    Unless a single one has more.
    """
    found: list[list[int]] = []
    waiting = list(range(len(sizes)))
    while waiting:
        found.append(_fitting(waiting, sizes, largest))
        waiting = waiting[len(found[-1]) :]
    return found


def _fitting(places: list[int], sizes: Sequence[int], largest: int) -> list[int]:
    total, end = 0, 0
    for at in places:
        total += sizes[at]
        if end and total > largest:
            break
        end += 1
    return places[:end]
