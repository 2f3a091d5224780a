"""Export and import: everything arrives, and an enemy's archive harms nobody."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minireranker.cache import Catalog, ContentRow, DocumentRow, FeatureEntry, Namespace
from minireranker.cache.disk import DiskCache
from minireranker.cache.transfer_export import Exported, export_archive
from minireranker.cache.transfer_import import Imported, import_archive
from minireranker.errors import CacheError

PIXELS = '{"visual": true, "content": null}'
FIRST = Namespace({"weights": "one"}, "", "first model, mini")
SECOND = Namespace({"weights": "two"}, "guest", "second model, mini")
FORMAT = {"format": "minireranker catalog", "version": 1}


def entry(number: int) -> FeatureEntry:
    return FeatureEntry(torch.arange(number, number + 64.0).view(4, 16), ())


def keys(namespace: Namespace, count: int) -> list[str]:
    return [namespace.key({"document": number}) for number in range(count)]


def fill(cache: DiskCache, namespace: Namespace, count: int) -> list[str]:
    """Entries, and a document for each, known by its id."""
    cache.register(namespace)
    catalog = Catalog(cache.database, namespace.name)
    made = keys(namespace, count)
    for number, key in enumerate(made):
        assert cache.put(key, entry(number), created=1000.0 + number)
        digest = f"{number:064x}"
        catalog.add_contents([ContentRow(digest, True, ("ab" * 32, key), stamp=f"{number:x}")])
        catalog.add({f"page {number}.png": DocumentRow(digest, PIXELS)})
    return made


@pytest.fixture
def source(tmp_path: Path) -> Iterator[DiskCache]:
    with DiskCache(tmp_path / "source") as cache:
        fill(cache, FIRST, 5)
        fill(cache, SECOND, 3)
        yield cache


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


def test_everything_arrives(source: DiskCache, target: DiskCache, tmp_path: Path) -> None:
    told: list[int] = []
    out = tmp_path / "all.tar"
    size = sum(info.bytes for info in source.entries())
    assert export_archive(source, out, step=told.append) == Exported(8, size, 0)
    assert sum(told) == size
    told.clear()
    assert import_archive(target, out, step=told.append) == Imported(8, size, documents=8)
    assert sum(told) == size
    assert files(target) == files(source)
    assert tables(target) == tables(source)
    assert {info.tenant for info in target.entries(SECOND.name)} == {"guest"}
    found = target.get(keys(FIRST, 1)[0], FeatureEntry)
    assert found is not None
    assert found.created == 1000.0
    assert target.database.query("SELECT * FROM sources") == []


def test_a_second_import_changes_nothing(
    source: DiskCache, target: DiskCache, tmp_path: Path
) -> None:
    export_archive(source, tmp_path / "all.tar")
    import_archive(target, tmp_path / "all.tar")
    before = tables(target), files(target)
    assert import_archive(target, tmp_path / "all.tar") == Imported(present=8)
    assert (tables(target), files(target)) == before


def test_some_namespaces(source: DiskCache, target: DiskCache, tmp_path: Path) -> None:
    found = export_archive(source, tmp_path / "one.tar", namespaces=[SECOND.name])
    assert (found.entries, found.gone) == (3, 0)
    assert import_archive(target, tmp_path / "one.tar").entries == 3
    assert set(files(target)) == set(keys(SECOND, 3))
    assert {row[0] for rows in tables(target).values() for row in rows} == {SECOND.name}


def test_some_keys_and_what_is_known_of_them(
    source: DiskCache, target: DiskCache, tmp_path: Path
) -> None:
    wanted = [keys(FIRST, 5)[1], keys(FIRST, 5)[3], FIRST.key({"document": "gone"})]
    found = export_archive(source, tmp_path / "some.tar", keys=wanted)
    assert (found.entries, found.gone) == (2, 1)
    import_archive(target, tmp_path / "some.tar")
    assert set(files(target)) == set(wanted[:2])
    assert Catalog(target.database, FIRST.name).ids() == ["page 1.png", "page 3.png"]


def test_the_order_of_use_arrives(source: DiskCache, target: DiskCache, tmp_path: Path) -> None:
    for key in reversed(keys(FIRST, 5)):
        source.get(key, FeatureEntry)
    source.flush()
    export_archive(source, tmp_path / "all.tar", namespaces=[FIRST.name])
    import_archive(target, tmp_path / "all.tar")
    by_use = sorted(target.entries(), key=lambda info: info.used)
    assert [info.key for info in by_use] == keys(FIRST, 5)[::-1]


def test_more_rows_than_are_read_at_once(tmp_path: Path) -> None:
    rows = {f"{n}": DocumentRow(f"{n:x}", PIXELS) for n in range(1700)}
    with DiskCache(tmp_path / "a") as one, DiskCache(tmp_path / "b") as two:
        one.register(FIRST)
        Catalog(one.database, FIRST.name).add(rows)
        export_archive(one, tmp_path / "all.tar")
        assert import_archive(two, tmp_path / "all.tar").documents == 1700
        assert Catalog(two.database, FIRST.name).ids() == list(rows)


def test_an_entry_nobody_registered_travels_too(target: DiskCache, tmp_path: Path) -> None:
    with DiskCache(tmp_path / "source") as source:
        key = keys(FIRST, 1)[0]
        source.put(key, entry(0))
        export_archive(source, tmp_path / "all.tar")
    assert import_archive(target, tmp_path / "all.tar").entries == 1


def test_a_damaged_entry_is_not_exported(source: DiskCache, tmp_path: Path) -> None:
    (path,) = (source.path / "entries").rglob(f"{keys(FIRST, 1)[0]}*")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = export_archive(source, tmp_path / "all.tar")
    assert (found.entries, found.gone) == (7, 1)


def test_an_id_keeps_its_meaning_unless_told_otherwise(
    source: DiskCache, target: DiskCache, tmp_path: Path
) -> None:
    export_archive(source, tmp_path / "all.tar")
    target.register(FIRST)
    catalog = Catalog(target.database, FIRST.name)
    own = DocumentRow("f" * 64, '{"own": 1}')
    catalog.add({"page 2.png": own})
    found = import_archive(target, tmp_path / "all.tar")
    assert (found.documents, found.documents_kept) == (7, 1)
    assert catalog.documents(["page 2.png"])["page 2.png"] == own
    found = import_archive(target, tmp_path / "all.tar", replace=True)
    assert (found.documents, found.documents_kept) == (1, 0)
    assert catalog.documents(["page 2.png"])["page 2.png"].digest == f"{2:064x}"


def test_a_file_is_replaced_whole_or_not_at_all(
    source: DiskCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.tar").write_text("before")

    def interrupted(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_archive(source, folder / "a.tar", step=interrupted)
    assert os.listdir(folder) == ["a.tar"]
    assert (folder / "a.tar").read_text() == "before"
    export_archive(source, folder / "a.tar")
    assert os.listdir(folder) == ["a.tar"]
    assert tarfile.is_tarfile(folder / "a.tar")


def test_an_archive_that_cannot_be_made(source: DiskCache, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"no.a\.tar: No such file"):
        export_archive(source, tmp_path / "no" / "a.tar")


def test_an_archive_that_was_packed_by_somebody_else(
    source: DiskCache, target: DiskCache, tmp_path: Path
) -> None:
    export_archive(source, tmp_path / "all.tar")
    with (
        tarfile.open(tmp_path / "all.tar") as packed,
        tarfile.open(tmp_path / "again.tar", "w", format=tarfile.PAX_FORMAT) as again,
    ):
        for info in reversed(packed.getmembers()):  # the catalog last
            info.mtime = 1.5
            again.addfile(info, packed.extractfile(info))
    assert import_archive(target, tmp_path / "again.tar").entries == 8
    assert tables(target) == tables(source)


def test_more_than_the_folder_may_hold(source: DiskCache, tmp_path: Path) -> None:
    export_archive(source, tmp_path / "all.tar")
    with DiskCache(tmp_path / "small", max_bytes=2000) as small:
        with pytest.raises(CacheError, match="may hold 2000"):
            import_archive(small, tmp_path / "all.tar")
        assert list(small.entries()) == []


def test_a_folder_that_takes_nothing_more(source: DiskCache, tmp_path: Path) -> None:
    export_archive(source, tmp_path / "all.tar", namespaces=[SECOND.name])
    size = max(info.bytes for info in source.entries())
    with DiskCache(tmp_path / "full", max_bytes=3 * size) as full:
        pinned = fill(full, FIRST, 2)
        assert full.pin(pinned) == 2
        found = import_archive(full, tmp_path / "all.tar")
        assert (found.entries, found.unkept) == (3, 0), "each evicted the one before"
        full.pin(keys(SECOND, 3))
    with DiskCache(tmp_path / "full", max_bytes=3 * size) as full:
        full.delete(keys(SECOND, 2))
        found = import_archive(full, tmp_path / "all.tar")
        assert (found.entries, found.present, found.unkept) == (0, 1, 2)


def test_a_read_only_folder(source: DiskCache, tmp_path: Path) -> None:
    export_archive(source, tmp_path / "all.tar")
    source.read_only = True
    with pytest.raises(CacheError, match="cannot be written"):
        import_archive(source, tmp_path / "all.tar")


def test_a_truncated_archive_gives_what_was_whole(
    source: DiskCache, target: DiskCache, tmp_path: Path
) -> None:
    export_archive(source, tmp_path / "all.tar")
    data = (tmp_path / "all.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[:-2500])
    with pytest.raises(CacheError, match=r"cut\.tar: it ends .* 7 entries .* 8 documents were imp"):
        import_archive(target, tmp_path / "cut.tar")
    assert len(files(target)) == 7
    assert import_archive(target, tmp_path / "all.tar").entries == 1
    assert files(target) == files(source)


@pytest.mark.parametrize("what", ["missing", "folder", "pipe"])
def test_what_is_no_file(what: str, target: DiskCache, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    with pytest.raises(CacheError, match="is not"):
        import_archive(target, path)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=3)), max_size=5
    ),
    length=st.integers(0, 2**16),
)
def test_nothing_unsound_comes_out_of_a_damaged_archive(
    changes: list[tuple[int, bytes]], length: int, source: DiskCache, target: DiskCache
) -> None:
    path = target.path.parent / "spoilt.tar"
    export_archive(source, path)
    spoilt = bytearray(path.read_bytes())
    for at, new in changes:
        at %= len(spoilt)
        spoilt[at : at + len(new)] = new
    path.write_bytes(spoilt[: max(length, len(spoilt) // 2)])
    with contextlib.suppress(CacheError):
        import_archive(target, path)
    sound = files(source)
    assert all(sound.get(key) == data for key, data in files(target).items())
    for namespace in (FIRST, SECOND):
        target.drop(namespace.name)


def test_an_archive_is_a_tar_file_with_those_names(source: DiskCache, tmp_path: Path) -> None:
    export_archive(source, tmp_path / "all.tar")
    with tarfile.open(tmp_path / "all.tar") as packed:
        names = packed.getnames()
        catalog = packed.extractfile("catalog.jsonl")
        assert catalog is not None
        rows = [json.loads(line) for line in io.TextIOWrapper(catalog)]
    assert names[0] == "catalog.jsonl"
    assert {f"entries/{key}.safetensors" for key in files(source)} == set(names[1:])
    assert rows[0] == FORMAT
    assert {row["table"] for row in rows[1:]} == {"namespaces", "contents", "documents"}
