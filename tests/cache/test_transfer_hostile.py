"""Importing what somebody made by hand: an enemy's archive harms nobody."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from minireranker.cache import FeatureEntry, Namespace
from minireranker.cache.archive import ArchiveWriter
from minireranker.cache.disk import DiskCache
from minireranker.cache.format import dump
from minireranker.cache.transfer_import import import_archive
from minireranker.errors import CacheError

FIRST = Namespace({"weights": "one"}, "", "first model, mini")
SECOND = Namespace({"weights": "two"}, "guest", "second model, mini")
FORMAT = {"format": "minireranker catalog", "version": 1}


def entry(number: int) -> FeatureEntry:
    return FeatureEntry(torch.arange(number, number + 64.0).view(4, 16), ())


def keys(namespace: Namespace, count: int) -> list[str]:
    return [namespace.key({"document": number}) for number in range(count)]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[DiskCache]:
    with DiskCache(tmp_path / "target", max_bytes=10**6) as cache:
        yield cache


def tables(cache: DiskCache) -> dict[str, set[tuple[Any, ...]]]:
    """All that is to arrive."""
    columns = {
        "namespaces": "name, tenant, label",
        "contents": "namespace, digest, header, key",
        "documents": "namespace, id, digest, document",
    }
    return {
        table: set(cache.database.query(f"SELECT {names} FROM {table}"))
        for table, names in columns.items()
    }


def files(cache: DiskCache) -> dict[str, bytes | None]:
    return {info.key: cache.read_bytes(info.key) for info in cache.entries()}


def archive(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with path.open("wb") as file:
        writer = ArchiveWriter(file)
        for name, data in members:
            writer.add(name, [data])
        writer.finish()
    return path


def lines(*rows: object) -> tuple[str, bytes]:
    text = "".join(json.dumps(row) + "\n" for row in (FORMAT, *rows))
    return "catalog.jsonl", text.encode()


def declared(namespace: Namespace = FIRST) -> dict[str, str]:
    return {
        "table": "namespaces",
        "name": namespace.name,
        "tenant": namespace.tenant,
        "label": namespace.label,
    }


def member(key: str, number: int = 0) -> tuple[str, bytes]:
    return f"entries/{key}.safetensors", dump(key, entry(number), 1000.0)


HOSTILE = [
    "../../evil.safetensors",
    "/tmp/evil.safetensors",
    f"entries/../../{'a' * 32}-{'b' * 64}.safetensors",
    f"entries/{'A' * 32}-{'b' * 64}.safetensors",
    f"entries/{'a' * 32}-{'b' * 64}.safetensors.pkl",
    f"./entries/{'a' * 32}-{'b' * 64}.safetensors",
    f"entries/{'a' * 32}-{'b' * 64}",
    f"../.././{'a' * 32}-{'b' * 64}.safetensors",
    f"entries/{'a' * 32}-{'b' * 64}.safetensorz",
    "index.sqlite3",
    "",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_other_name_is_refused(name: str, target: DiskCache, tmp_path: Path) -> None:
    good = member(keys(FIRST, 1)[0])
    path = archive(tmp_path / "x.tar", [lines(declared()), (name, good[1]), good])
    before = sorted(map(str, tmp_path.rglob("*")))
    found = import_archive(target, path)
    assert (found.entries, found.refused) == (1, 1)
    assert found.reasons == (f"{name}: not a name that an archive of entries has",)
    new = {str(p) for p in tmp_path.rglob("*")} - set(before)
    assert all(str(target.path) in name for name in new)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"6", b"3"])
def test_links_and_devices_are_refused(kind: bytes, target: DiskCache, tmp_path: Path) -> None:
    key, other = keys(FIRST, 2)
    info = tarfile.TarInfo(f"entries/{key}.safetensors")
    info.type, info.linkname = kind, "/etc/passwd"
    good = archive(tmp_path / "x.tar", [lines(declared()), member(other)]).read_bytes()
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + good)
    found = import_archive(target, tmp_path / "x.tar")
    assert (found.entries, found.refused) == (1, 1)
    assert "a link, folder or device" in found.reasons[0]
    assert key not in target


def test_what_a_catalog_must_not_be_a_link_to(target: DiskCache, tmp_path: Path) -> None:
    info = tarfile.TarInfo("catalog.jsonl")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    (tmp_path / "x.tar").write_bytes(data)
    assert import_archive(target, tmp_path / "x.tar").refused == 1


def test_a_member_there_twice(target: DiskCache, tmp_path: Path) -> None:
    key = keys(FIRST, 1)[0]
    first = member(key)
    twice = [lines(declared()), first, member(key, 7), lines()]
    found = import_archive(target, archive(tmp_path / "x.tar", twice))
    assert (found.entries, found.refused) == (1, 2)
    assert target.read_bytes(key) == first[1]


def test_entries_that_are_not_sound(target: DiskCache, tmp_path: Path) -> None:
    good, flipped, swapped, cut, foreign = keys(FIRST, 5)
    name, data = member(flipped)
    bad = bytearray(data)
    bad[len(bad) // 2] ^= 1
    members = [
        lines(declared()),
        (name, bytes(bad)),
        (member(swapped)[0], member(good)[1]),
        (member(cut)[0], member(cut)[1][:-1]),
        (member(foreign)[0], b"\x80\x04 pickled"),
        member(good),
    ]
    found = import_archive(target, archive(tmp_path / "x.tar", members))
    assert (found.entries, found.refused, len(found.reasons)) == (1, 4, 4)
    assert set(files(target)) == {good}


def test_an_entry_of_a_namespace_nobody_declared(target: DiskCache, tmp_path: Path) -> None:
    members = [lines(declared(SECOND)), member(keys(FIRST, 1)[0])]
    found = import_archive(target, archive(tmp_path / "x.tar", members))
    assert (found.entries, found.refused) == (0, 1)
    assert "does not declare" in found.reasons[0]


def written(**fields: object) -> str:
    """A document's JSON, of no texts and no files but those given."""
    content = {"texts": [], "images": [], "videos": [], "importances": []}
    return json.dumps({"visual": True, "content": {**content, **fields}})


DOCUMENT = {
    "table": "documents",
    "namespace": FIRST.name,
    "id": "a",
    "digest": "00",
    "document": '{"visual": true, "content": null}',
}
CONTENT = {
    "table": "contents",
    "namespace": FIRST.name,
    "digest": "00",
    "header": "00",
    "key": keys(FIRST, 1)[0],
}
BAD_ROWS: list[object] = [
    [],
    None,
    {},
    {**DOCUMENT, "table": "sources"},
    {**DOCUMENT, "table": "sqlite_master"},
    {**DOCUMENT, "table": ["documents"]},
    {**DOCUMENT, "more": 1},
    {name: value for name, value in DOCUMENT.items() if name != "digest"},
    {**DOCUMENT, "namespace": SECOND.name},
    {**DOCUMENT, "id": 7},
    {**DOCUMENT, "id": "\ud800"},
    {**DOCUMENT, "digest": "nothing hex"},
    {**DOCUMENT, "digest": "a" * 200},
    {**DOCUMENT, "document": "{"},
    {**DOCUMENT, "document": "[]"},
    {**DOCUMENT, "document": "{}"},
    {**DOCUMENT, "document": '{"visual": 1, "content": null}'},
    {**DOCUMENT, "document": '{"visual": true, "content": {"texts": []}}'},
    {**DOCUMENT, "document": written(texts=[1])},
    {**DOCUMENT, "document": written(images="/etc/passwd")},
    {**DOCUMENT, "document": None},
    {**DOCUMENT, "document": '{"a": ' + "[" * 100_000},
    {**CONTENT, "key": keys(SECOND, 1)[0]},
    {**CONTENT, "key": "../" + keys(FIRST, 1)[0]},
    {**CONTENT, "header": 0},
    {**declared(), "name": "x" * 32},
    {**declared(), "tenant": None},
    {**declared(SECOND), "label": "\udfff"},
]


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_row_that_is_not_sound(row: object, target: DiskCache, tmp_path: Path) -> None:
    path = archive(tmp_path / "x.tar", [lines(declared(), row, DOCUMENT, CONTENT)])
    found = import_archive(target, path)
    assert (found.refused, found.documents) == (1, 1)
    assert {table: len(rows) for table, rows in tables(target).items()} == {
        "namespaces": 1,
        "contents": 1,
        "documents": 1,
    }


def test_paths_of_another_machine_do_not_arrive(target: DiskCache, tmp_path: Path) -> None:
    documents = {
        "file": written(images=["/etc/passwd"], texts=["x"]),
        "video": written(videos=["/dev/zero"]),
        "text": written(texts=["words"]),
    }
    rows = [{**DOCUMENT, "id": name, "document": text} for name, text in documents.items()]
    found = import_archive(target, archive(tmp_path / "x.tar", [lines(declared(), *rows)]))
    assert (found.refused, found.documents) == (0, 3)
    arrived = {row[1]: row[3] for row in tables(target)["documents"]}
    assert json.loads(arrived["file"]) == {"visual": True, "content": None}
    assert json.loads(arrived["video"])["content"] is None
    assert arrived["text"] == documents["text"]


def test_a_row_does_not_rename_what_is_here(target: DiskCache, tmp_path: Path) -> None:
    own = archive(tmp_path / "own.tar", [lines(declared(), CONTENT)])
    import_archive(target, own)
    before = tables(target)
    taken = {**declared(), "tenant": "thief", "label": "mine"}
    other = {**CONTENT, "key": FIRST.key({"document": "other"})}
    import_archive(target, archive(tmp_path / "x.tar", [lines(taken, other)]))
    assert tables(target) == before


@pytest.mark.parametrize("members", [[], [("catalog.jsonl", b"")]])
def test_without_a_catalog_nothing_is_declared(
    members: list[tuple[str, bytes]], target: DiskCache, tmp_path: Path
) -> None:
    path = archive(tmp_path / "x.tar", [*members, member(keys(FIRST, 1)[0])])
    found = import_archive(target, path)
    assert (found.entries, found.refused) == (0, 1)


@pytest.mark.parametrize("text", [b"{}\n", b"not json\n", b'{"format": "x", "version": 2}\n'])
def test_a_catalog_of_another_version(text: bytes, target: DiskCache, tmp_path: Path) -> None:
    members = [("catalog.jsonl", text), member(keys(FIRST, 1)[0])]
    path = archive(tmp_path / "x.tar", members)
    with pytest.raises(CacheError, match=r"x\.tar: its catalog is not one of version 1"):
        import_archive(target, path)
    assert list(target.entries()) == []


def test_one_entry_larger_than_the_folder(target: DiskCache, tmp_path: Path) -> None:
    good, large = keys(FIRST, 2)
    members = [lines(declared()), (member(large)[0], bytes(target.max_bytes + 1)), member(good)]
    found = import_archive(target, archive(tmp_path / "x.tar", members))
    assert (found.entries, found.refused) == (1, 1)
    assert "more than the folder may hold" in found.reasons[0]
