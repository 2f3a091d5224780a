"""What outlives a call, at its edges: odd ids, ids given twice, shared contents, passing faults."""

from __future__ import annotations

import gc
import io
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minireranker import Cache, Document, DocumentId, Profile, Reranker
from minireranker.cache import Catalog, ContentRow, DocumentRow, PrefixEntry
from minireranker.cache.database import Database
from minireranker.engine import ahead
from minireranker.engine.indexing import Indexing
from minireranker.engine.library import Library
from minireranker.engine.matching import Candidate, Chunk
from minireranker.errors import ConfigurationError, ImportanceError, UnknownDocumentError

QUERY = "a red bicycle"


class Made:
    """A lazy picture of pixels in memory."""

    def __init__(self, pixels: Any) -> None:
        self.pixels = pixels

    def __call__(self) -> Any:
        return self.pixels


class TestOneIdTwice:
    @pytest.mark.parametrize("cached", [0, 1, None])
    def test_the_later_document_of_a_call_holds(
        self, mini: Reranker, picture: Callable[..., Any], cached: int | None
    ) -> None:
        pages = [picture(64, 64, n) for n in range(2)]
        if cached is not None:
            mini.index([pages[cached]])
        mini.index([Document(image=page, id="page") for page in pages])
        scores = mini.score(QUERY, [DocumentId("page"), *pages])[0]
        assert scores[0] == scores[2] != scores[1]

    def test_what_is_replaced_is_not_held(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        old = Made(picture(64, 64, 0))
        gone = weakref.ref(old)
        mini.index([Document(image=old, id="page")])
        del old
        mini.index([Document(image=Made(picture(64, 64, 1)), id="page")])
        gc.collect()
        assert gone() is None

    def test_deleting_one_of_two_leaves_the_other_its_content(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        page = picture(64, 64)
        mini.index([Document(image=Made(page), id=name) for name in ("a", "b")])
        scores = mini.score(QUERY, [DocumentId("b")])
        mini.delete("a")
        mini.cache.memory.clear()
        assert np.array_equal(mini.score(QUERY, [DocumentId("b")]), scores)


class TestOddIds:
    def test_any_text_is_an_id(self, mini: Reranker) -> None:
        names = ["", "a", "a\0b", " a ", "é", "e\u0301", "\U0001f600", "%_'\";--", "a" * 9_999]
        documents = [Document(text=f"text {n}", id=name) for n, name in enumerate(names)]
        assert list(mini.index(documents)) == names
        assert mini.indexed() == names
        given = mini.score(QUERY, documents)
        assert np.array_equal(mini.score(QUERY, mini.indexed()), given)

    def test_what_is_not_unicode_was_never_indexed(self, mini: Reranker) -> None:
        mini.index([Document(text="a text", id="a")])
        ranking = mini.rank(QUERY, [DocumentId("\udcff"), DocumentId("a")])
        assert [hit.id for hit in ranking] == ["a"]
        assert isinstance(ranking.failed[0].error, UnknownDocumentError)
        assert mini.delete(["\udcff"]) == 0
        with pytest.raises(ConfigurationError, match="tenant"):
            mini.for_tenant("\udcff")


class TestImportances:
    def test_those_that_are_no_numbers_fail_with_their_document(
        self, tiny: Path, picture: Callable[..., Any], tmp_path: Path
    ) -> None:
        file = saved(picture(64, 96), tmp_path)
        half = Reranker.from_pretrained(tiny, keep_ratio=0.5, dtype="float32")
        (failed,) = half.rank(QUERY, [Document(image=file, importances=[10**400] * 6)]).failed
        assert isinstance(failed.error, ImportanceError)

    def test_where_no_token_is_dropped_they_do_not_matter(
        self, dense: Reranker, picture: Callable[..., Any], tmp_path: Path
    ) -> None:
        file = saved(picture(64, 96), tmp_path)
        document = Document(image=file, importances=object(), id="odd")
        (key,) = dense.index([document]).keys
        assert key is not None
        dense.cache.delete([key])
        assert len(dense.rank(QUERY, [DocumentId("odd")])) == 1


class TestDecodingAhead:
    def test_frames_that_are_functions_are_called_by_the_caller(
        self, mini: Reranker, picture: Callable[..., Any]
    ) -> None:
        callers = set()

        def frame() -> Any:
            callers.add(threading.current_thread())
            return picture(64, 64)

        assert not mini.index([{"video": [frame, frame]}]).failed
        assert callers == {threading.current_thread()}

    def test_one_pillow_image_may_be_several_documents(
        self, mini: Reranker, picture: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ahead, "THREADS", 8)
        monkeypatch.setattr(ahead, "DEPTH", 16)
        file = io.BytesIO()
        Image.fromarray(picture(1_200, 1_200)).save(file, "JPEG")
        for _ in range(3):
            image = Image.open(io.BytesIO(file.getvalue()))
            indexed = mini.index([image] * 8)
            assert not indexed.failed
            assert len(set(indexed)) == 1

    def test_a_file_that_changes_meanwhile_keeps_its_old_entry_and_id(
        self,
        mini: Reranker,
        picture: Callable[..., Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        file = saved(picture(64, 64, 0), tmp_path)
        old = mini.index([file])
        entry = mini.cache.get(str(old.keys[0]), PrefixEntry)
        assert entry is not None
        mini.cache.delete([str(old.keys[0])])
        decode = Indexing._decode

        def changing(self: Indexing, numbered: Any) -> None:
            Image.fromarray(picture(64, 64, 1)).save(file)
            decode(self, numbered)
            mini.cache.put(str(old.keys[0]), entry)  # as another thread would

        monkeypatch.setattr(Indexing, "_decode", changing)
        again = mini.index([file])
        assert (again.ids, again.keys) == (old.ids, old.keys)


class TestCatalogsFaults:
    def test_what_could_not_be_written_is_when_it_can_be(self, tmp_path: Path) -> None:
        path = tmp_path / "index.sqlite3"
        database = Database(path)
        catalog, other = Catalog(database, "space"), Catalog(Database(path), "space")
        catalog.add({name: DocumentRow("d1", "{}") for name in ("kept", "deleted")})
        with unwritable(database):
            catalog.add({"kept": DocumentRow("d2", "{}"), "new": DocumentRow("d3", "{}")})
            catalog.add_contents([ContentRow("d3", True, ("head", "key"), "stamp")])
            catalog.remove(["deleted"])
            assert catalog.ids() == ["kept", "new"]
            assert catalog.documents(["kept", "deleted"]) == {"kept": DocumentRow("d2", "{}")}
            assert other.ids() == ["kept", "deleted"]
        catalog.add({"kept": DocumentRow("d4", "{}")})
        for each in (catalog, other):
            assert each.ids() == ["kept", "new"]
            assert each.documents(["kept"])["kept"].digest == "d4"
            assert each.keys(["d3"], "head") == {"d3": "key"}
            assert each.sources(["stamp"]) == {"stamp": ("d3", True)}
        assert catalog.remove(["new"]) == ["key"]
        assert catalog.ids() == ["kept"]

    @pytest.mark.parametrize("damaged", ["{", "[]", "{}", '{"visual":true,"content":{"texts":[]}}'])
    def test_a_damaged_row_is_an_unknown_document(self, mini: Reranker, damaged: str) -> None:
        mini.index([Document(text=name, id=name) for name in ("a", "b")])
        with mini.cache.catalog_database.transaction() as connection:
            connection.execute("UPDATE documents SET document=? WHERE id='a'", (damaged,))
        ranking = mini.rank(QUERY, [DocumentId("a"), DocumentId("b")])
        assert [hit.id for hit in ranking] == ["b"]
        assert isinstance(ranking.failed[0].error, UnknownDocumentError)

    def test_ids_are_found_in_a_folder_that_may_only_be_read(
        self, tiny: Path, picture: Callable[..., Any]
    ) -> None:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "cache")
            os.chmod(place, 0o755)
            first = Reranker.from_pretrained(tiny, dtype="float32", cache=folder)
            first.index([Document(image=picture(64, 64), id="page")])
            scores = first.score(QUERY, first.indexed())
            first.cache.close()
            with read_only(folder), Cache(folder) as cache:
                library = Library(Catalog(cache.catalog_database, first.namespace.name))
                later = Reranker(replace(first.state, cache=cache, library=library), "later")
                assert np.array_equal(later.score(QUERY, [DocumentId("page")]), scores)
                later.index([Document(text="new", id="mine")])
                assert later.indexed() == ["page", "mine"]


def test_a_query_writes_nothing_of_documents_that_come_second(
    tiny: Path, tmp_path: Path, picture: Callable[..., Any]
) -> None:
    with Cache(tmp_path / "cache") as cache:
        reranker = Reranker.from_pretrained(tiny, dtype="float32", cache=cache)
        ids = reranker.index([f"text {n}" for n in range(3)])
        for side in (64, 96):
            assert len(reranker.rank({"image": picture(64, side)}, list(ids))) == 3
        cache.flush()
        assert cache.disk is not None
        assert cache.disk.stats.entries == 3


def test_a_long_chunk_is_counted_once_a_document() -> None:
    asked = []

    class Weighed(Candidate):
        @property
        def held(self) -> int:
            asked.append(self)
            return 10

    chunk = Chunk()
    assert [chunk.add(Weighed(Document(text="a"))) for _ in range(100)][-1] == 1_000
    assert len(asked) == 100


def test_a_query_first_profile_finds_its_documents_after_their_ids_are_shared(
    tiny: Path, mini: Reranker, picture: Callable[..., Any]
) -> None:
    template = replace(mini.profile.template, order="query-first")
    profile: Profile = replace(mini.profile, template=template)
    reranker = Reranker.from_pretrained(tiny, profile=profile, dtype="float32")
    reranker.index([Document(image=picture(64, 64), id=name) for name in ("a", "b")])
    scores = reranker.score(QUERY, [DocumentId("b")])
    assert reranker.delete("a") == 1
    assert np.array_equal(reranker.score(QUERY, [DocumentId("b")]), scores)


def saved(pixels: Any, folder: Path) -> Path:
    """A file of them, old enough to be trusted."""
    path = folder / "page.png"
    Image.fromarray(pixels).save(path)
    time.sleep(0.1)
    return path


@contextmanager
def unwritable(database: Database) -> Iterator[None]:
    """Every write fails, as SQLite itself refuses it."""
    with database.transaction() as connection:
        writer = connection
    writer.execute("PRAGMA query_only = 1")
    yield
    writer.execute("PRAGMA query_only = 0")


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Nobody may write in a folder, this process included, while inside."""
    items, user = [place, *place.rglob("*")], os.geteuid()
    for item in items:
        item.chmod(0o555 if item.is_dir() else 0o444)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for item in items:
            item.chmod(0o755)
