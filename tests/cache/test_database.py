"""The database of a cache folder: one writer at a time, whatever becomes of its file."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from minireranker.cache.database import Database
from minireranker.errors import CacheError

PUT = "INSERT OR REPLACE INTO meta VALUES(?, ?)"
GET = "SELECT value FROM meta WHERE name = ?"

Open: TypeAlias = Callable[..., Database]


def put(database: Database, name: str, value: object) -> None:
    with database.transaction() as connection:
        connection.execute(PUT, (name, value))


def get(database: Database, name: str) -> object:
    rows = database.query(GET, (name,))
    return rows[0][0] if rows else None


@pytest.fixture
def open_database() -> Iterator[Open]:
    """Opens databases, and closes them in the end."""
    with contextlib.ExitStack() as stack:

        def opened(path: Path | None, **options: bool) -> Database:
            return stack.enter_context(contextlib.closing(Database(path, **options)))

        yield opened


@pytest.fixture(params=["file", "memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path, open_database: Open) -> Database:
    return open_database(tmp_path / "a" / "index.sqlite3" if request.param == "file" else None)


def test_what_is_committed_is_read(database: Database) -> None:
    assert database.rebuilt
    put(database, "a", 1)
    put(database, "scanned", 1)
    assert get(database, "a") == 1
    assert not database.rebuilt
    assert database.longest_wait < 5
    database.close()
    with pytest.raises(CacheError, match="closed"):
        get(database, "a")
    with pytest.raises(CacheError, match="closed"):
        put(database, "a", 1)


def fail_after_put(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(PUT, ("a", 2))
        raise KeyError


def test_what_raises_is_rolled_back(database: Database) -> None:
    put(database, "a", 1)
    with pytest.raises(KeyError):
        fail_after_put(database)
    assert get(database, "a") == 1
    put(database, "a", 3)
    assert get(database, "a") == 3


def test_a_transaction_in_another_is_a_mistake(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(PUT, ("a", 1))
        with pytest.raises(AssertionError, match="inside another"), database.transaction():
            pass
    assert get(database, "a") == 1


def test_it_is_read_while_another_thread_writes(tmp_path: Path, open_database: Open) -> None:
    database = open_database(tmp_path / "index.sqlite3")
    put(database, "a", 1)
    with database.transaction() as connection:
        connection.execute(PUT, ("a", 2))
        found: list[object] = []
        reader = threading.Thread(target=lambda: found.append(get(database, "a")))
        reader.start()
        reader.join(10)
        assert found == [1]
    assert get(database, "a") == 2


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_who_does_not_want_to_wait_is_told(tmp_path: Path, kind: str, open_database: Open) -> None:
    database = open_database(tmp_path / "index.sqlite3")
    other = database if kind == "thread" else open_database(tmp_path / "index.sqlite3")
    refused: list[bool] = []

    def attempt() -> None:
        try:
            with other.transaction(wait=False):
                refused.append(False)
        except BlockingIOError:
            refused.append(True)

    for _ in range(2):
        with database.transaction():
            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join(10)
        attempt()
    assert refused == [True, False] * 2


def test_waiting_for_another_is_measured(tmp_path: Path, open_database: Open) -> None:
    first, second = (open_database(tmp_path / "index.sqlite3") for _ in range(2))
    with first.transaction() as connection:
        connection.execute(PUT, ("a", 0))
        waiter = threading.Thread(target=put, args=(second, "a", 1))
        waiter.start()
        time.sleep(0.2)
    waiter.join(10)
    assert get(first, "a") == 1
    assert 0.1 < second.longest_wait < 5
    assert first.longest_wait < 0.1


def test_two_on_one_file_lose_no_count(tmp_path: Path, open_database: Open) -> None:
    databases = [open_database(tmp_path / "index.sqlite3") for _ in range(2)]
    put(databases[0], "a", 0)

    def work(database: Database) -> None:
        for _ in range(150):
            with database.transaction() as connection:
                ((value,),) = connection.execute(GET, ("a",)).fetchall()
                connection.execute(PUT, ("a", value + 1))

    threads = [threading.Thread(target=work, args=(databases[n % 2],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get(databases[0], "a") == get(databases[1], "a") == 600


def test_garbage_is_not_collected_while_others_wait(database: Database) -> None:
    assert gc.isenabled()
    with database.transaction():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with database.transaction():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_log_does_not_grow_for_ever(tmp_path: Path, open_database: Open) -> None:
    database = open_database(tmp_path / "index.sqlite3")
    for n in range(1200):
        put(database, "a", "x" * 3000 + str(n))
    assert (tmp_path / "index.sqlite3-wal").stat().st_size < 8 * 2**20
    assert (tmp_path / "index.sqlite3").stat().st_size > 4096
    database.compact()
    assert (tmp_path / "index.sqlite3-wal").stat().st_size == 0
    assert get(database, "a") == "x" * 3000 + "1199"


def test_reading_only_changes_nothing(tmp_path: Path, open_database: Open) -> None:
    path = tmp_path / "index.sqlite3"
    with pytest.raises(CacheError, match="not readable"):
        open_database(path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    writer = open_database(path)
    put(writer, "a", 1)
    reader = open_database(path, read_only=True)
    assert get(reader, "a") == 1
    put(writer, "a", 2)
    assert get(reader, "a") == 2
    with pytest.raises(CacheError, match="read only"), reader.transaction():
        pass


def test_a_file_that_goes_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, open_database: Open
) -> None:
    path = tmp_path / "c" / "index.sqlite3"
    database, other = open_database(path), open_database(path)
    put(database, "scanned", 1)
    path.unlink()
    assert database.rebuilt
    put(database, "a", 1)
    assert get(other, "a") == 1, "others see the new one too"
    put(other, "a", 2)
    assert get(database, "a") == 2
    assert "is gone" in caplog.text
    database.close()
    other.close()
    assert get(open_database(path), "a") == 2


def test_a_malformed_file_is_mended_once_it_shows(tmp_path: Path, open_database: Open) -> None:
    path = tmp_path / "index.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    database = open_database(path)
    put(database, "a", "b" * 100_000)
    database.compact()
    data = path.read_bytes()
    with path.open("r+b") as file:  # in place: the file stays the one that is open
        file.seek(4096)
        file.write(b"\xa5" * (len(data) - 4096))
    other = open_database(path)
    assert other.rebuilt
    assert (tmp_path / "index.sqlite3.corrupt-1").exists()
    put(database, "c", 1)
    assert get(other, "c") == 1
    assert get(database, "a") is None
    assert not database.mend()


def test_a_malformed_file_is_mended_by_who_finds_out(
    tmp_path: Path, open_database: Open, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "index.sqlite3"
    database = open_database(path)
    add = "INSERT INTO documents(namespace, id, digest, document) VALUES('n', ?, 'd', ?)"
    with database.transaction() as connection:
        connection.executemany(add, [(str(n), "x" * 5000) for n in range(500)])
    database.compact()
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(2**16)
        file.write(b"\xa5" * (size - 2**16))
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        database.query("SELECT sum(length(document)) FROM documents")
    put(database, "a", 1)
    assert get(database, "a") == 1
    assert database.rebuilt
    assert "malformed" in caplog.text


@pytest.mark.parametrize("size", [0, 10])
def test_a_file_cut_short_is_no_trouble(tmp_path: Path, size: int, open_database: Open) -> None:
    path = tmp_path / "index.sqlite3"
    database = open_database(path)
    put(database, "a", 1)
    database.close()
    path.write_bytes(path.read_bytes()[:size])
    assert open_database(path).rebuilt
