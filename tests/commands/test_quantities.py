"""Sizes and durations: what is understood, what is refused, and how sizes are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireranker.commands.quantities import parse_bytes, parse_duration, shown_bytes
from minireranker.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("500000", 500_000),
        ("0", 0),
        ("12 B", 12),
        ("1.5 GiB", 3 * 2**29),
        ("10GB", 10**10),
        ("10 gb", 10**10),
        (" 2kB ", 2000),
        ("2KiB", 2048),
        ("0.1MB", 100_000),
        ("1.9999B", 1),
        ("3TiB", 3 * 2**40),
        ("1PB", 10**15),
    ],
)
def test_a_size(text: str, count: int) -> None:
    assert parse_bytes(text, "--disk-bytes") == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 30 * 86_400),
        ("12h", 43_200),
        ("90 min", 5_400),
        ("1.5 h", 5_400),
        ("2W", 1_209_600),
        ("10s", 10),
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text, "--ttl") == seconds


@pytest.mark.parametrize(
    "text", ["", "GB", "10G", "-1GB", "1e9", "1,5GB", "٣GB", "10 GB 5", "1GB\n2", "nan", "5EB"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--disk-bytes .*not a size such as 10GB"):
        parse_bytes(text, "--disk-bytes")


@pytest.mark.parametrize("text", ["", "30", "3m", "1y", "d", "-2h", "1d12h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--ttl .*not a time such as 30d"):
        parse_duration(text, "--ttl")


def test_what_no_disk_holds_and_nobody_waits_for() -> None:
    with pytest.raises(ConfigurationError, match="too large"):
        parse_bytes("99999PB", "--disk-bytes")
    with pytest.raises(ConfigurationError, match="too large"):
        parse_duration("99999999w", "--ttl")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1_234, "1.23 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (2**35, "34.4 GB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_a_size_for_people(count: int, text: str) -> None:
    assert shown_bytes(count) == text


@given(st.integers(0, 10**18))
def test_a_shown_size_is_within_a_hundredth_of_the_size(count: int) -> None:
    assert abs(parse_bytes(shown_bytes(count), "x") - count) <= 0.01 * count
