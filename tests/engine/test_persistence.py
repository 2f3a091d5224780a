"""What outlives a process: entries, ids and files that need not be opened again."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minireranker import Cache, Document, DocumentId, Reranker
from minireranker.engine.stamps import stamp_of
from minireranker.errors import CacheError, ConfigurationError, UnknownDocumentError

QUERY = "a red bicycle"


@pytest.fixture
def pages(tmp_path: Path, picture: Callable[..., Any]) -> list[Path]:
    """Four files, old enough to be trusted."""
    paths = [tmp_path / f"page{n}.png" for n in range(4)]
    for number, path in enumerate(paths):
        Image.fromarray(picture(64, 96, number)).save(path)
    settle()
    return paths


def settle() -> None:
    """Past the tick within which a file's time says nothing."""
    time.sleep(0.1)


@pytest.fixture
def opened(tiny: Path, tmp_path: Path) -> Iterator[Callable[..., Reranker]]:
    """Rerankers on one cache folder, as later processes would open it."""
    caches = []

    def open_(profile: Any = "mini", **options: Any) -> Reranker:
        caches.append(Cache(tmp_path / "cache", **options))
        return Reranker.from_pretrained(tiny, profile=profile, dtype="float32", cache=caches[-1])

    yield open_
    for cache in caches:
        cache.close()


class Rendered:
    """A lazy picture that counts how often it is made."""

    def __init__(self, path: Path) -> None:
        self.made_from, self.calls = (path, ""), 0

    def __call__(self) -> Image.Image:
        self.calls += 1
        return Image.open(self.made_from[0])


def closed(reranker: Reranker) -> None:
    reranker.cache.close()


class TestASecondProcess:
    def test_ranks_what_the_first_indexed_by_id_alone(
        self, opened: Callable[..., Reranker], pages: list[Path]
    ) -> None:
        first = opened()
        ids = first.index([Document(image=page, id=page.name) for page in pages])
        scores = first.score(QUERY, list(ids))
        closed(first)
        for page in pages:
            page.unlink()
        second = opened()
        assert second.indexed() == list(ids)
        ranking = second.rank(QUERY, [DocumentId(page.name) for page in pages])
        assert ranking.work.cache_hits == 4
        assert ranking.work.cache_misses == ranking.work.vision_patches == 0
        assert np.array_equal(second.score(QUERY, second.indexed()), scores)

    def test_does_not_read_what_comes_from_an_unchanged_file(
        self, opened: Callable[..., Reranker], pages: list[Path]
    ) -> None:
        first = opened()
        scores = first.score(QUERY, [Rendered(page) for page in pages])
        closed(first)
        second, lazy = opened(), [Rendered(page) for page in pages]
        assert np.array_equal(second.score(QUERY, lazy), scores)
        assert [page.calls for page in lazy] == [0, 0, 0, 0]
        pages[2].touch()
        assert np.array_equal(second.score(QUERY, lazy), scores)
        assert [page.calls for page in lazy] == [0, 0, 1, 0]

    def test_indexing_again_reads_nothing(
        self, opened: Callable[..., Reranker], pages: list[Path]
    ) -> None:
        first = opened()
        ids = first.index(pages)
        closed(first)
        second = opened()
        again = second.index(pages)
        assert list(again) == list(ids)
        assert again.keys == ids.keys
        assert (again.work.cache_hits, again.work.cache_misses) == (4, 0)
        assert again.work.vision_patches == 0

    def test_pixels_given_as_objects_are_found_by_their_content(
        self, opened: Callable[..., Reranker], pages: list[Path]
    ) -> None:
        first = opened()
        first.index(pages)
        closed(first)
        second = opened()
        given = [pages[0].read_bytes(), Image.open(pages[1]), np.asarray(Image.open(pages[2]))]
        ranking = second.rank(QUERY, given)
        assert (ranking.work.cache_hits, ranking.work.vision_patches) == (3, 0)

    def test_a_killed_index_goes_on_where_it_was(
        self, opened: Callable[..., Reranker], tiny: Path, tmp_path: Path, pages: list[Path]
    ) -> None:
        program = (
            "import os, sys; from minireranker import Reranker\n"
            "model, cache, *pages = sys.argv[1:]\n"
            "from pathlib import Path\n"
            "reranker = Reranker.from_pretrained(model, dtype='float32', cache=cache)\n"
            "reranker.index([Path(page) for page in pages[:3]])\n"
            "os.kill(os.getpid(), 9)\n"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, tiny, tmp_path / "cache", *pages],
            capture_output=True,
            check=False,
        )
        assert done.returncode == -9, done.stderr
        indexed = opened().index(pages)
        assert (indexed.work.cache_hits, indexed.work.cache_misses) == (3, 1)


class TestWhatChanges:
    def test_a_changed_file_is_read_again(
        self, opened: Callable[..., Reranker], pages: list[Path], picture: Callable[..., Any]
    ) -> None:
        reranker = opened()
        before = reranker.score(QUERY, pages)
        Image.fromarray(picture(64, 96, 77)).save(pages[1])
        after = reranker.score(QUERY, pages)
        assert after[0, 1] != before[0, 1]
        assert np.array_equal(np.delete(after, 1), np.delete(before, 1))

    def test_a_file_changed_within_a_tick_is_not_trusted(self, tmp_path: Path) -> None:
        path = tmp_path / "new.png"
        path.write_bytes(b"x")
        assert stamp_of(Document(image=path).content) is None
        settle()
        assert stamp_of(Document(image=path).content) is not None

    def test_a_replaced_document_leaves_no_entry_behind(
        self, opened: Callable[..., Reranker], pages: list[Path]
    ) -> None:
        reranker = opened()
        old = reranker.index([Document(image=pages[0], id="page")])
        new = reranker.index([Document(image=pages[1], id="page")])
        assert old.keys[0] not in reranker.cache
        assert new.keys[0] in reranker.cache
        assert reranker.indexed() == ["page"]

    def test_a_deleted_document_is_gone_unless_another_has_its_content(
        self, opened: Callable[..., Reranker], pages: list[Path]
    ) -> None:
        reranker = opened()
        copies = [Document(image=pages[0], id=name) for name in ("a", "b")]
        key = reranker.index(copies).keys[0]
        assert reranker.delete(["a", "never seen"]) == 1
        assert key in reranker.cache
        assert len(reranker.rank(QUERY, [DocumentId("b")])) == 1
        assert reranker.delete("b") == 1
        assert key not in reranker.cache
        (failed,) = reranker.rank(QUERY, [DocumentId("b")]).failed
        assert isinstance(failed.error, UnknownDocumentError)

    def test_another_profile_or_codec_shares_nothing(
        self, opened: Callable[..., Reranker], pages: list[Path]
    ) -> None:
        first = opened()
        first.index(pages)
        for other in (opened("dense"), opened(codec="int8"), opened().for_tenant("x")):
            assert other.indexed() == []
            assert other.namespace.name != first.namespace.name
            assert other.index(pages).work.cache_misses == 4
        assert first.index(pages).work.cache_misses == 0

    def test_a_namespace_is_dropped_at_once(
        self, opened: Callable[..., Reranker], pages: list[Path]
    ) -> None:
        mini, dense = opened(), opened("dense")
        keys = mini.index(pages).keys
        dense.index(pages)
        mini.cache.drop(mini.namespace.name)
        assert not any(key in mini.cache for key in keys)
        assert mini.indexed() == []
        assert dense.index(pages).work.cache_misses == 0


def test_two_threads_read_one_document_once(tiny: Path, picture: Callable[..., Any]) -> None:
    documents = [picture(96, 96, n) for n in range(6)]
    reranker = Reranker.from_pretrained(tiny, profile="mini", dtype="float32")
    reranker.rank("warm the header", ["a text"])
    barrier, work = threading.Barrier(4), []

    def rank() -> None:
        barrier.wait()
        work.append(reranker.rank(QUERY, documents).work)

    threads = [threading.Thread(target=rank) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(item.vision_patches for item in work) == 6 * 36


@pytest.mark.parametrize("codec", ["bf16", "fp8", "int8", "int4"])
def test_a_codec_gives_the_same_scores_read_now_or_cached(
    opened: Callable[..., Reranker], pages: list[Path], codec: str
) -> None:
    reranker = opened(codec=codec)
    missed, hit = reranker.score(QUERY, pages), reranker.score(QUERY, pages)
    closed(reranker)
    later = opened(codec=codec).score(QUERY, pages)
    assert missed.tobytes() == hit.tobytes() == later.tobytes()
    exact = opened().score(QUERY, pages)
    assert exact.tobytes() != missed.tobytes()


def test_a_cache_is_a_folder_or_says_what_is_wrong(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(CacheError, match="file"):
        Reranker.from_pretrained(tiny, cache=file)
    reranker = Reranker.from_pretrained(tiny, cache=str(tmp_path / "new" / "folder"))
    assert (tmp_path / "new" / "folder").is_dir()
    reranker.cache.close()


def test_who_only_looks_leaves_no_namespace(
    opened: Callable[..., Reranker], pages: list[Path]
) -> None:
    first = opened()
    first.index(pages)
    other = opened("dense")
    assert not other.rank(QUERY, [DocumentId("page")]).hits
    assert other.cache.disk is not None
    assert [info.name for info in other.cache.disk.namespaces()] == [first.namespace.name]


def test_an_id_that_changes_its_file_is_spoken_of(
    opened: Callable[..., Reranker], pages: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    reranker = opened()
    reranker.index([Document(image=pages[0], id="x.png")])
    assert not caplog.records
    reranker.index([Document(image=pages[1], id="x.png")])
    assert "page1.png" in caplog.text
    assert "page0.png" in caplog.text


@pytest.mark.parametrize("path", ["s3://bucket/x", ""])
def test_a_url_is_no_folder(tiny: Path, path: str) -> None:
    with pytest.raises(ConfigurationError, match="remote="):
        Reranker.from_pretrained(tiny, cache=path)
