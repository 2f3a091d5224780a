"""Sizes and times as people write them: 10GB, 1.5 GiB, 500000; 30d, 12 h, 90 min."""

from __future__ import annotations

import re
from decimal import Decimal

from minireranker.errors import ConfigurationError

__all__ = ["counted", "parse_bytes", "parse_duration", "shown_bytes"]

_BYTES = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgtp", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgtp", 1)},
}
_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_QUANTITY = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([a-z]*)", re.IGNORECASE)

_MOST_BYTES = 2**60
_MOST_SECONDS = 1000 * 365 * 86_400


def parse_bytes(text: str, option: str) -> int:
    """Bytes, rounded down: a number alone, or with B, kB to PB (decimal), KiB to PiB (binary).

    Raises ConfigurationError that names ``option``.
    """
    return int(_parse(text, option, _BYTES, _MOST_BYTES, "a size such as 10GB, 1.5GiB or 500000"))


def parse_duration(text: str, option: str) -> float:
    """Seconds: a number with s, min, h, d or w. Raises ConfigurationError that names ``option``."""
    return float(_parse(text, option, _SECONDS, _MOST_SECONDS, "a time such as 30d, 12h or 90min"))


def shown_bytes(count: int) -> str:
    """Bytes for people, in decimal units: 512 B, 1.50 kB, 32.8 GB, 120 GB."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {unit}"


def counted(count: int, one: str, many: str) -> str:
    """A number and its noun: 1 entry, 2,000 entries."""
    return f"{count:,} {one if count == 1 else many}"


def _parse(text: str, option: str, units: dict[str, int], most: int, wanted: str) -> Decimal:
    found = _QUANTITY.fullmatch(text.strip())
    unit = units.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise ConfigurationError(f"{option} {text!r}: not {wanted}")
    value = Decimal(found[1]) * unit
    if value > most:
        raise ConfigurationError(f"{option} {text!r}: too large; give {wanted}")
    return value
