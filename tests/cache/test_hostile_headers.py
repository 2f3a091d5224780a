"""Hostile headers: under a right checksum a file may say anything, and it is damage at most."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from minireranker.cache.entry import FeatureEntry, PrefixEntry
from minireranker.cache.format import load
from minireranker.cache.key import LAYOUT_VERSION, Namespace
from minireranker.errors import CorruptEntryError

SPACE = Namespace({"model": "m"})
KEY, OTHER = (SPACE.key({"n": n}) for n in range(2))


def written(header: Any) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()


def sealed(header: Any, data: bytes = bytes(24)) -> bytes:
    """A file with any header, and the checksum it should have, written from the definition."""
    text = header if isinstance(header, bytes) else written(header)
    text += b" " * (-len(text) % 8)
    file = len(text).to_bytes(8, "little") + text + data
    digits = xxhash.xxh3_128(file).hexdigest().encode()
    return file.replace(b'"checksum":"' + b"0" * 32, b'"checksum":"' + digits, 1)


def header(**changes: Any) -> dict[str, Any]:
    """Of a sound file: six float32 and their place; ``changes`` to the metadata."""
    metadata = {"format": "minireranker", "layout": str(LAYOUT_VERSION), "key": KEY}
    metadata |= {"kind": "FeatureEntry", "created": "1.5", "checksum": "0" * 32}
    tensor = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    return {"__metadata__": {**metadata, **changes}, "merged": tensor}


def tensors(**found: Any) -> dict[str, Any]:
    """A sound header with other tensors; a list is dtype, shape, offsets."""
    names = ("dtype", "shape", "data_offsets")
    items = {
        n: dict(zip(names, t, strict=True)) if type(t) is list else t for n, t in found.items()
    }
    return {"__metadata__": header()["__metadata__"], **items}


def without(name: str) -> dict[str, Any]:
    found = header()
    del found["__metadata__"][name]
    return found


def suffix_header(layers: str) -> dict[str, Any]:
    found = tensors(x=["F32", [1, 1], [16, 20]], positions=["I32", [1, 1], [20, 24]])
    found |= {"z": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}
    found["__metadata__"] |= {"kind": "SuffixEntry", "layers": layers}
    return found


def prefix_header(**fields: str) -> dict[str, Any]:
    found = tensors(k=["F32", [1, 3, 1, 1], [0, 12]], v=["F32", [1, 3, 1, 1], [12, 24]])
    sound = {"codec": "exact", "dtype": "float32", "span": "3", "tokens": "3", "grids": ""}
    found["__metadata__"] |= {"kind": "PrefixEntry", **sound, **fields}
    return found


SOUND = ["F32", [2, 3], [0, 24]]
HOSTILE: dict[str, Any] = {
    "no JSON": b'{"checksum":"' + b"0" * 32 + b'"',
    "a list": ["x", {"checksum": "0" * 32}],
    "deep": b'{"checksum":"' + b"0" * 32 + b'","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no UTF-8": json.dumps(header(), separators=(",", ":"))
    .encode()
    .replace(b"merged", b"\xff" * 6),
    "a long number": b'{"checksum":"' + b"0" * 32 + b'","a":' + b"9" * 10_000 + b"}",
    "a name twice": written(header())[:-1]
    + b',"merged":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}',
    "two checksums": header(other={"checksum": "1" * 32}),
    "no metadata": {"merged": header()["merged"], "checksum": "0" * 32},
    "metadata no mapping": {**header(), "__metadata__": [{"checksum": "0" * 32}]},
    "metadata not of strings": header(created=1.5),
    **{f"no {name}": without(name) for name in ("format", "layout", "key", "kind", "created")},
    "no checksum": without("checksum"),
    "checksum in capitals": header(checksum="A" * 32),
    "another format": header(format="pt"),
    "another layout": header(layout=str(LAYOUT_VERSION + 1)),
    "layout no number": header(layout="two"),
    "key of another": header(key=OTHER),
    "key with a path": header(key="../" + KEY[3:]),
    "key and more": header(key=KEY + "\n"),
    "unknown kind": header(kind="Reranker"),
    "kind with dunder": header(kind="__class__"),
    "created nan": header(created="nan"),
    "created inf": header(created="1e999"),
    "created a word": header(created="soon"),
    "field too long": header(note="x" * 65),
    "a field it has not": header(note="x"),
    "no tensors": tensors(),
    "no dict": tensors(merged=7),
    "dtype unknown": tensors(merged=["F31", [2, 3], [0, 24]]),
    "dtype complex": tensors(merged=["C64", [3], [0, 24]]),
    "dtype a list": tensors(merged=[["F32"], [2, 3], [0, 24]]),
    "shape a number": tensors(merged=["F32", 6, [0, 24]]),
    "shape negative": tensors(merged=["F32", [-2, -3], [0, 24]]),
    "shape of floats": tensors(merged=["F32", [2.0, 3.0], [0, 24]]),
    "shape of booleans": tensors(merged=["F32", [True, 6], [0, 24]]),
    "shape too large": tensors(merged=["F32", [2**40, 2**40], [0, 24]]),
    "shape overflows to its size": tensors(merged=["F32", [2**62 + 3, 2], [0, 24]]),
    "shape with zero and huge": tensors(merged=SOUND, a=["F32", [0, 2**61], [24, 24]]),
    "shape with zero and overflowing": tensors(
        merged=SOUND, a=["F32", [0, *[2**61] * 3], [24, 24]]
    ),
    "shape of many dimensions": tensors(merged=["F32", [1] * 70 + [6], [0, 24]]),
    "offsets three": tensors(merged=["F32", [2, 3], [0, 24, 24]]),
    "offsets negative": tensors(merged=["F32", [2, 3], [-24, 0]]),
    "offsets backwards": tensors(merged=["F32", [2, 3], [24, 0]]),
    "offsets beyond": tensors(merged=["F32", [2, 3], [24, 48]]),
    "offsets huge": tensors(merged=["F32", [2, 3], [2**63, 2**63 + 24]]),
    "size another": tensors(merged=["F32", [2, 2], [0, 24]]),
    "overlap": tensors(merged=SOUND, a=["F32", [2, 3], [0, 24]]),
    "overlap in part": tensors(merged=["F32", [4], [0, 16]], a=["F32", [4], [8, 24]]),
    "gap in front": tensors(merged=["F32", [5], [4, 24]]),
    "gap between": tensors(merged=["F32", [2], [0, 8]], a=["F32", [2], [16, 24]]),
    "bytes left over": tensors(merged=["F32", [5], [0, 20]]),
    "not aligned": tensors(
        merged=["U8", [3], [0, 3]],
        **{"deepstack.0": ["F32", [5], [3, 23]], "deepstack.1": ["U8", [1], [23, 24]]},
    ),
    "something more": tensors(merged=SOUND) | {"merged": {**header()["merged"], "more": 1}},
    "a stranger's tensor": tensors(merged=["F32", [3], [0, 12]], other=["F32", [3], [12, 24]]),
    "no such layer count": suffix_header("many"),
    **{
        f"{n} layers": suffix_header(n) for n in ("999999999", "9" * 40, "1_000_000_000", "-5", "3")
    },
    "unknown codec": prefix_header(codec="zip"),
    "dtype no dtype": prefix_header(dtype="nn"),
    "dtype private": prefix_header(dtype="__name__"),
    "tokens another": prefix_header(tokens="4"),
    "tokens with a sign": prefix_header(tokens="+3"),
    "tokens no number": prefix_header(tokens="x"),
    "grid of two": prefix_header(grids="1x2"),
    "grid of words": prefix_header(grids="axbxc"),
    "grid without its tensor": prefix_header(grids="1x1x3"),
    "span huge": prefix_header(span="1048577"),
    "prefix without fields": prefix_header()
    | {"__metadata__": header(kind="PrefixEntry")["__metadata__"]},
}


def test_the_helper_writes_sound_files() -> None:
    assert load(sealed(header()), KEY, FeatureEntry).created == 1.5
    assert load(sealed(prefix_header()), KEY, PrefixEntry).entry.span == 3


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_damage_and_nothing_else(name: str) -> None:
    with pytest.raises(CorruptEntryError, match=r"entry file|foreign") as caught:
        load(sealed(HOSTILE[name]), KEY)
    assert len(str(caught.value)) < 600


def beginnings() -> Iterator[bytes]:
    yield from (b"", b"\0", bytes(7), bytes(8), bytes(64), b"\xff" * 8, b"\xff" * 64)
    yield from ((n).to_bytes(8, "little") + b"{}" for n in (0, 1, 2, 3, 2**20, 2**63))
    yield sealed(header())[:40]


@pytest.mark.parametrize("data", list(beginnings()))
def test_a_file_of_something_else_is_damage(data: bytes) -> None:
    with pytest.raises(CorruptEntryError):
        load(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
PATHS = ["merged", "merged dtype", "merged shape", "merged data_offsets", "__metadata__"]
PATHS += ["__metadata__ key", "__metadata__ created", "__metadata__ layout", "__metadata__ new"]


@settings(max_examples=300, deadline=None)
@given(base=st.sampled_from([header, prefix_header]), path=st.sampled_from(PATHS), value=JSON)
def test_whatever_a_header_says_it_is_an_entry_or_damage(base: Any, path: str, value: Any) -> None:
    found = base()
    *way, last = path.split()
    inner = found[way[0]] if way and way[0] in found else found
    inner[last] = value
    try:
        entry = load(sealed(found)).entry
    except CorruptEntryError:
        return
    assert sum(tensor.nbytes for tensor in entry.tensors().values()) <= 24
