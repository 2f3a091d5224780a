"""Tar files: ours are read by everybody, everybody's are read by us, and nothing breaks us."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.cache.archive import ArchiveWriter, Member, members
from minireranker.errors import CacheError

LONG = "entries/" + "a" * 97 + ".safetensors"
FILES = {"catalog.jsonl": b"{}\n", LONG: bytes(range(256)) * 5, "empty": b"", "block": b"x" * 512}


def ours(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    archive = ArchiveWriter(file)
    for name, data in files.items():
        assert archive.add(name, [data[:100], data[100:]]) == len(data)
    archive.finish()
    return file.getvalue()


def theirs(files: dict[str, bytes], form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size, header.mtime = len(data), 1.5
            archive.addfile(header, io.BytesIO(data))
    return file.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    found = list(members(io.BytesIO(data)))
    assert all(member.is_file for member in found)
    return {member.name: data[member.start : member.start + member.size] for member in found}


def header(kind: bytes, name: str = "x", size: int = 0, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info.tobuf(tarfile.GNU_FORMAT)


def test_the_standard_library_reads_ours() -> None:
    with tarfile.open(fileobj=io.BytesIO(ours(FILES))) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    assert found == FILES


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_we_read_what_the_standard_library_wrote(form: int) -> None:
    assert contents(theirs(FILES, form)) == contents(ours(FILES)) == FILES


def test_an_archive_depends_on_its_contents_only() -> None:
    assert ours(FILES) == ours(FILES)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"Z"],
)
def test_what_is_no_regular_file_is_seen_as_such(kind: bytes) -> None:
    data = header(kind, "entries/link", target="/etc/passwd") + ours({"a": b"1"})
    first, second = members(io.BytesIO(data))
    assert (first.name, first.is_file) == ("entries/link", False)
    assert (second.name, second.is_file, second.size) == ("a", True, 1)


def test_a_size_of_a_link_hides_nothing() -> None:
    data = header(tarfile.SYMTYPE, "link", size=512) + ours({"a": b"1"})
    assert [member.name for member in members(io.BytesIO(data))] == ["link", "a"]


def test_a_global_header_is_passed_over() -> None:
    data = header(tarfile.XGLTYPE, size=10) + b"10 path=z\n".ljust(512, b"\0") + ours({"a": b"1"})
    assert contents(data) == {"a": b"1"}


def test_ten_thousand_long_names_in_a_row() -> None:
    name = header(tarfile.GNUTYPE_LONGNAME, size=2) + b"n\0".ljust(512, b"\0")
    assert contents(name * 10_000 + ours({"a": b"1"})) == {"n": b"1"}


def test_a_header_of_many_bytes_is_not_read() -> None:
    size = 50 * 2**20
    data = io.BytesIO(header(tarfile.XHDTYPE, size=size) + bytes(size))
    tracemalloc.start()
    with pytest.raises(CacheError, match="has 52428800 bytes"):
        list(members(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends at byte 0, without an end mark"),
        (b"not a tar file", "ends at byte 14, without an end mark"),
        (b"not a tar file " * 100, "no tar header at byte 0"),
        (header(tarfile.REGTYPE, size=10**12), "ends inside the member at byte 0"),
        (header(tarfile.GNUTYPE_SPARSE), "sparse"),
        (ours({"a": b"1"})[:1024], "ends at byte 1024, without an end mark"),
    ],
)
def test_what_is_no_whole_archive(data: bytes, reason: str) -> None:
    with pytest.raises(CacheError, match=reason):
        list(members(io.BytesIO(data)))


def test_a_negative_size() -> None:
    block = bytearray(header(tarfile.REGTYPE))
    block[124:136] = b"\xff" * 11 + b"\x00"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(CacheError, match="ends inside"):
        list(members(io.BytesIO(bytes(block) + bytes(1024))))


SEEDS = [theirs(FILES, tarfile.PAX_FORMAT), ours(FILES)]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=4)), max_size=4),
    st.integers(0, 20_000),
)
def test_whatever_is_changed_every_member_lies_in_the_file(
    data: bytes, changes: list[tuple[int, bytes]], length: int
) -> None:
    spoilt = bytearray(data)
    for at, new in changes:
        spoilt[at : at + len(new)] = new
    spoilt = spoilt[:length]
    seen: list[Member] = []
    with contextlib.suppress(CacheError):
        seen.extend(members(io.BytesIO(bytes(spoilt))))
    assert all(0 < m.start <= m.start + m.size <= len(spoilt) for m in seen)


@pytest.mark.parametrize(
    "records", [b"x", b"99999 path=a", b"0 path=a\n", b"-3 path=a\n", b"9" * 600]
)
def test_damaged_pax_records_name_nothing(records: bytes) -> None:
    data = header(tarfile.XHDTYPE, size=len(records)) + records + bytes(-len(records) % 512)
    assert contents(data + ours({"a": b"1"})) == {"a": b"1"}
