"""Several processes on one index, killed ones, full disks and folders nobody may write to."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from minireranker.errors import VectorIndexError
from minireranker.retrieval.vector_index import VectorIndex
from minireranker.retrieval.vectors import TokenVectors

HERE = Path(__file__).parent
SAMPLES = runpy.run_path(str(HERE / "index_documents.py"))
vectors_of, kept_of, files_of = (SAMPLES[n] for n in ("vectors_of", "kept_of", "files_of"))
MADE = {"identity": "i", "encoder": "e", "dim": 16, "pooled_dim": 8}
ROUNDS = 20

APPENDER = """
import runpy, sys
from minireranker.retrieval.vector_index import VectorIndex
vectors_of = runpy.run_path(sys.argv[1])["vectors_of"]
with VectorIndex.open(sys.argv[2]) as index:
    for version in range(1, 25):
        names = [f"d{version % 13}", f"e{version}", "always"]
        index.append(names, vectors_of(dict.fromkeys(names, version)))
        index.delete([f"e{version - 5}"])
        if version % 12 == 0:
            index.compact()
"""


def test_killed_writers_lose_nothing_that_was_there() -> None:
    command = [sys.executable, "-P", str(HERE / "killed_appends.py"), "--rounds", str(ROUNDS)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)
    assert found["first problems"] == []
    assert ended.returncode == 0, ended.stderr
    # The rounds were worth something: kills hit writes, some of which left files behind.
    assert found["rounds"] == ROUNDS
    assert found["killed in append"] > ROUNDS // 10
    assert min(found[name] for name in ("leftovers", "undone", "documents read")) > 0
    assert min(found[f"finished {name}"] for name in ("append", "delete", "compact")) > 0


def versions_by_content(path: Path) -> dict[tuple[bytes, bytes, bytes], int]:
    """Of the document "always"."""
    names = [f"always {version}" for version in range(25)]
    items = [vectors_of({"always": version}) for version in range(25)]
    pooled = torch.cat([item.pooled for item in items])
    with VectorIndex.create(path, **MADE, dtype="float32") as index:
        index.append(names, TokenVectors.of([item.vectors for item in items], pooled))
        return {kept: version for version, kept in enumerate(kept_of(index, names).values())}


def test_one_process_reads_while_another_writes(tmp_path: Path) -> None:
    states, versions = set(), [0]
    with VectorIndex.create(tmp_path / "index", **MADE, dtype="float32") as index:
        index.append(["always"], vectors_of({"always": 0}))
        command = [sys.executable, "-P", "-c", APPENDER, str(HERE / "index_documents.py")]
        with subprocess.Popen([*command, str(tmp_path / "index")]) as child:
            expected = versions_by_content(tmp_path / "other")  # while the child still imports
            while child.poll() is None:
                index.refresh()
                ids = index.ids
                kept = kept_of(index, ids)
                versions.append(expected[kept["always"]])
                found = index.search(torch.eye(8), 100)
                assert all(sorted(item.ids) == sorted(ids) for item in found)
                states.add(tuple(ids))
                for _ in range(10):
                    VectorIndex.open(tmp_path / "index").close()
            assert child.returncode == 0
        index.refresh()
        assert versions == sorted(versions)
        assert len(states) > 5
        assert kept_of(index, ["always"])["always"] in expected
        assert len(index) == 13 + 5 + 1
        assert index.verify().sound


def test_a_second_writer_waits_and_then_says_who_holds_it(tmp_path: Path) -> None:
    with VectorIndex.create(tmp_path, **MADE) as index, VectorIndex.open(tmp_path) as other:
        other.wait_seconds = 0.05
        with index._folder.locked("appending 3 documents", 0):
            message = rf"process {os.getpid()} on .*: appending 3 documents: try again later"
            with pytest.raises(VectorIndexError, match=message):
                other.append(["a"], vectors_of({"a": 0}))
            other.wait_seconds = 20.0
            thread = threading.Thread(target=other.append, args=(["a"], vectors_of({"a": 0})))
            thread.start()
            time.sleep(0.1)
            assert thread.is_alive()
        thread.join()
        assert other.ids == ["a"]


def test_threads_share_an_index(tmp_path: Path) -> None:
    failures = list[BaseException]()

    def work(number: int) -> None:
        try:
            for at in range(12):
                name = f"{number} {at}"
                index.append([name, "shared"], vectors_of({name: 1, "shared": 1}))
                assert name in index
                assert "shared" in index.search(torch.ones(1, 8), 1000)[0].ids
                index.delete([name] if at % 3 else [])
        except BaseException as error:
            failures.append(error)

    with VectorIndex.create(tmp_path, **MADE) as index:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(index) == 4 * 4 + 1
        assert index.verify().sound


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    names = [f"n{at}" for at in range(300)]
    with VectorIndex.create(tmp_path, **MADE) as index:
        index.append(["a", "b"], vectors_of({"a": 1, "b": 1}))
        kept, files = kept_of(index, ["a", "b"]), files_of(tmp_path)
        for room in (0, 10, 300, 5_000, 20_000):
            with largest_file(room), pytest.raises(VectorIndexError, match="every document it had"):
                index.append(names, vectors_of(dict.fromkeys(names, 1)))
            assert kept_of(index, index.ids) == kept
            assert files_of(tmp_path) == files
        with largest_file(0), pytest.raises(VectorIndexError, match="Make room"):
            index.delete(["a"])
        assert "a" in index
        index.append(names, vectors_of(dict.fromkeys(names, 1)))
        assert len(index) == 302
        assert index.verify().sound


def test_a_merge_that_fails_is_not_the_appends_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with VectorIndex.create(tmp_path, **MADE) as index:
        for at in range(7):
            names = [f"{at} {place}" for place in range(100)]
            index.append(names, vectors_of(dict.fromkeys(names, at)))
        one = max(files_of(tmp_path).values())
        with largest_file(one * 2):
            index.append(["last"], vectors_of({"last": 0}))
        assert "untidily" in caplog.text
        assert len(index) == len(VectorIndex.open(tmp_path)) == 701
        assert sum(index.nbytes.values()) == sum(files_of(tmp_path).values())
        assert len(files_of(tmp_path)) == 9
        index.append(["more"], vectors_of({"more": 0}))
        assert len(files_of(tmp_path)) == 3


def test_a_graph_that_lacks_its_last_bytes_is_not_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """usearch reports no failure of closing a file, in which its last few KiB are written."""
    names = [f"n{at}" for at in range(1030)]
    vectors, made = vectors_of(dict.fromkeys(names, 1), 0), {**MADE, "dim": 0, "ann": "hnsw"}
    with VectorIndex.create(tmp_path / "whole", **made) as index:
        index.append(names, vectors)
        size = index.nbytes["graph"]
    with VectorIndex.create(tmp_path / "cut", **made) as index:
        with largest_file((size - 1) // 4096 * 4096):
            index.append(names, vectors)
        assert "usearch" in caplog.text
        assert (len(index), index.nbytes["graph"]) == (1030, 0)
        assert sum(index.nbytes.values()) == sum(files_of(tmp_path / "cut").values())


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Whom permissions bind, also where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_cannot_be_written_can_be_read() -> None:
    path = Path(tempfile.mkdtemp())
    try:
        with VectorIndex.create(path, **MADE) as index:
            index.append(["a", "b"], vectors_of({"a": 1, "b": 1}))
        before = kept_of(VectorIndex.open(path), ["a", "b"])
        for item in (*path.iterdir(), path):
            item.chmod(0o555 if item == path else 0o444)
        with somebody_else(), VectorIndex.open(path) as index:
            assert kept_of(index, index.ids) == before
            assert len(index.search(torch.ones(1, 8), 3)[0].ids) == 2
            assert not index.refresh()
            assert index.verify().sound
            for write in (lambda: index.delete(["a"]), index.compact):
                with pytest.raises(VectorIndexError, match=r"cannot be written.*copy it"):
                    write()
    finally:
        path.chmod(0o755)
        shutil.rmtree(path)
