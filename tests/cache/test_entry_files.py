"""Entry files: what was put in comes out to the bit, and nothing damaged is ever taken for it."""

from __future__ import annotations

import io
import logging
import os
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from minireranker.cache.codec import CODECS
from minireranker.cache.disk import DiskCache
from minireranker.cache.entry import Entry, FeatureEntry, PrefixEntry, SuffixEntry
from minireranker.cache.faults import Faults
from minireranker.cache.folder import Folder
from minireranker.cache.format import check, dump, load
from minireranker.cache.key import LAYOUT_VERSION, Namespace
from minireranker.cache.reading import Reading
from minireranker.errors import CorruptEntryError

SPACE = Namespace({"model": "m"})
KEY, OTHER = (SPACE.key({"n": n}) for n in range(2))
CREATED = 1_234_567_890.123456
FLIPS = 10_000


def prefix(codec: str = "exact", layers: int = 3, tokens: int = 5, dtype: str = "float32") -> Entry:
    k, v = torch.randn(2, layers, tokens, 2, 8).to(getattr(torch, dtype))
    return PrefixEntry.encoded(codec, k, v, span=tokens + 7, tokens=tokens)


def features(levels: int = 2, tokens: int = 5) -> FeatureEntry:
    maps = torch.randn(levels + 1, tokens, 6).bfloat16()
    return FeatureEntry(maps[0], tuple(maps[1:]))


def suffix(tokens: int = 5) -> SuffixEntry:
    x, positions = torch.randn(tokens, 6), torch.arange(3 * tokens).view(3, tokens)
    return SuffixEntry(x, positions, (None, torch.randn(tokens, 6), None))


def bits(entry: Entry) -> dict[str, tuple[torch.dtype, torch.Size, bytes]]:
    return {
        name: (t.dtype, t.shape, t.contiguous().view(torch.uint8).numpy().tobytes())
        for name, t in entry.tensors().items()
    }


def same(left: Entry, right: Entry) -> bool:
    """Kind, fields, names, dtypes, shapes and every bit."""
    kinds = type(left) is type(right) and left.fields() == right.fields()
    return kinds and bits(left) == bits(right)


def place(path: Path, key: str = KEY) -> Path:
    """Where a cache in ``path`` looks for an entry."""
    return path / "entries" / key[:32] / key[33:35] / f"{key}.safetensors"


@settings(max_examples=60, deadline=None)
@given(
    codec=st.sampled_from(CODECS),
    dtype=st.sampled_from(["bfloat16", "float16", "float32"]),
    layers=st.integers(0, 3),
    tokens=st.integers(0, 70),
)
def test_prefixes_come_out_as_they_went_in(
    codec: str, dtype: str, layers: int, tokens: int
) -> None:
    entry = prefix(codec, layers, tokens, dtype)
    found = load(bytearray(dump(KEY, entry, CREATED)), KEY, PrefixEntry)
    assert same(found.entry, entry)
    assert (found.created, found.key) == (CREATED, KEY)
    for layer in range(layers):
        pairs = zip(found.entry.layer(layer), entry.layer(layer), strict=True)
        assert all(torch.equal(left, right) for left, right in pairs)


ENTRIES = [prefix(), features(), features(0), features(2, 0), suffix(), suffix(0)]


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_kind_comes_out_as_it_went_in(entry: Entry) -> None:
    data = dump(KEY, entry, CREATED)
    assert same(load(data).entry, entry)
    assert same(load(data, KEY, type(entry)).entry, entry)
    assert (check(data).kind, check(data).layout) == (type(entry).__name__, LAYOUT_VERSION)


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_safetensors_library_reads_them(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(dump(KEY, entry, CREATED))
    with safe_open(tmp_path / "file", framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    assert found.keys() == entry.tensors().keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in entry.tensors().items())
    assert metadata.items() >= {"format": "minireranker", "key": KEY, **entry.fields()}.items()


def test_a_layer_is_one_extent_of_the_file() -> None:
    entry = prefix("int8", layers=3)
    data = dump(KEY, entry, CREATED)
    for name, tensor in entry.tensors().items():
        extent, layer = check(data).tensors[name], tensor[1].contiguous()
        start = extent.start + layer.nbytes
        expected = layer.view(torch.uint8).numpy().tobytes()
        assert data[start : start + layer.nbytes] == expected


def test_tensors_are_views_of_what_may_be_written_and_copies_of_what_may_not() -> None:
    data = dump(KEY, features(), CREATED)
    writable = bytearray(data)
    first = torch.frombuffer(writable, dtype=torch.uint8).data_ptr()
    merged = load(writable, KEY, FeatureEntry).entry.merged
    assert first <= merged.data_ptr() < first + len(data)
    copied = load(data, KEY, FeatureEntry).entry.merged
    copied.zero_()
    assert load(data, KEY, FeatureEntry).entry.merged.any()


def test_tensors_in_one_memory_and_with_gaps_are_written_apart() -> None:
    x = torch.randn(6, 8)
    entry = FeatureEntry(x[:3], (x[:3], x[1:4], x.view(-1)[::2].view(3, 8)))
    assert same(load(dump(KEY, entry, CREATED)).entry, entry)


def test_another_key_or_kind_is_refused() -> None:
    data = dump(KEY, features(), CREATED)
    with pytest.raises(CorruptEntryError, match=f"{KEY}, {OTHER} was asked for"):
        load(data, OTHER)
    with pytest.raises(CorruptEntryError, match="FeatureEntry, not a PrefixEntry"):
        load(data, KEY, PrefixEntry)


def test_an_entry_that_could_not_be_read_back_is_not_written() -> None:
    parts = {"k": torch.zeros(0, 0, 1, 2), "v": torch.zeros(0, 0, 1, 2)}
    with pytest.raises(CorruptEntryError, match="'tokens' is '9999999'"):
        dump(KEY, PrefixEntry("exact", parts, torch.float32, 1, 9_999_999), CREATED)


def test_every_single_bit_counts() -> None:
    data = bytearray(dump(KEY, FeatureEntry(torch.randn(2, 3), ()), CREATED))
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptEntryError):
            check(data)
        data[bit // 8] ^= 1 << bit % 8
    assert check(data).key == KEY


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Some bits flipped, or cut short, or longer, or a stretch of it zeroed or moved."""
    found, roll, at = bytearray(data), draw.random(), draw.randrange(len(data))
    if roll < 0.6:
        for _ in range(draw.choice([1, 1, 1, 2, 3, 20])):
            found[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif roll < 0.8:
        del found[at:]
    elif roll < 0.85:
        found += draw.randbytes(draw.randint(1, 64))
    elif roll < 0.95:
        found[at : at + draw.randint(1, 4096)] = b"\0" * len(found[at : at + 4096])
    else:
        del found[at : at + draw.randint(1, 16)]
    return data[:-1] if bytes(found) == data else bytes(found)


def overwrite(file: io.FileIO, data: bytes) -> None:
    """In place: a file that is emptied first is written to the disk each time it is closed."""
    os.pwrite(file.fileno(), data, 0)
    file.truncate(len(data))


def test_ten_thousand_damaged_files_are_ten_thousand_misses(tmp_path: Path) -> None:
    draw, folder = random.Random(5), Folder(tmp_path)
    faults = Faults(logging.getLogger("minireranker.test"))
    reading = Reading(folder, None, faults, None)
    data = [dump(KEY, entry, CREATED) for entry in (prefix("int8"), features(), suffix())]
    place(tmp_path).parent.mkdir(parents=True)
    with place(tmp_path).open("wb", buffering=0) as file:
        for at in range(FLIPS):
            overwrite(file, damaged(data[at % 3], draw))
            assert reading.read(KEY, lambda data, header: header) is None
        assert faults.count == FLIPS
        overwrite(file, data[0])
        assert reading.read(KEY, lambda data, header: header.key) == KEY


@pytest.mark.parametrize("tokens", [5, 10_000])
def test_a_damaged_file_is_a_miss_removed_and_replaced(
    tmp_path: Path, tokens: int, caplog: pytest.LogCaptureFixture
) -> None:
    draw, entry = random.Random(6), features(2, tokens)
    data = dump(KEY, entry, CREATED)
    with DiskCache(tmp_path) as cache:
        assert cache.put_bytes(KEY, data)
        for at in range(300):
            place(tmp_path).write_bytes(damaged(data, draw))
            if at % 2:
                assert cache.get(KEY, FeatureEntry) is None
            else:
                assert cache.read_bytes(KEY) is None
            assert not place(tmp_path).exists()
            assert KEY not in cache
        assert (cache.stats.errors, cache.stats.misses, cache.stats.bytes) == (300, 150, 0)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert str(place(tmp_path)) in caplog.text
        assert cache.put(KEY, entry)
        found = cache.get(KEY, FeatureEntry)
        assert found is not None
        assert same(found.entry, entry)


def test_bytes_from_elsewhere_are_checked(tmp_path: Path) -> None:
    data = dump(KEY, features(), CREATED)
    with DiskCache(tmp_path) as cache:
        for wrong in (b"", data[:-1], damaged(data, random.Random(1)), dump(OTHER, suffix(), 1.0)):
            with pytest.raises(CorruptEntryError):
                cache.put_bytes(KEY, wrong)
        assert cache.put_bytes(KEY, data)
        assert cache.read_bytes(KEY) == data
