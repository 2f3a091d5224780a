"""The catalog: ids, contents and files of one namespace, across connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from minireranker.cache import Catalog, ContentRow, DocumentRow
from minireranker.cache.database import Database

HEADER, OTHER = "aa" * 32, "bb" * 32
KEYS = [f"{n:032x}-{n:064x}" for n in range(5)]


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(Database(None), "space")


def fill(catalog: Catalog) -> None:
    catalog.add({"a": DocumentRow("d1", "{}"), "b": DocumentRow("d1", "{}")})
    catalog.add({"c": DocumentRow("d2", '{"visual": true}')})
    catalog.add_contents(
        [
            ContentRow("d1", True, (HEADER, KEYS[1]), "s1"),
            ContentRow("d1", True, (OTHER, KEYS[2])),
            ContentRow("d2", False, (HEADER, KEYS[3]), "s2"),
        ]
    )


def test_rows_are_found_by_id_content_and_stamp(catalog: Catalog) -> None:
    fill(catalog)
    assert catalog.ids() == ["a", "b", "c"]
    assert catalog.documents(["c", "x"]) == {"c": DocumentRow("d2", '{"visual": true}')}
    assert catalog.keys(["d1", "d2", "d3"], HEADER) == {"d1": KEYS[1], "d2": KEYS[3]}
    assert catalog.keys(["d1", "d2"], OTHER) == {"d1": KEYS[2]}
    assert catalog.sources(["s1", "s2", "s3"]) == {"s1": ("d1", True), "s2": ("d2", False)}


def test_a_content_goes_with_its_last_document(catalog: Catalog) -> None:
    fill(catalog)
    assert catalog.remove(["a"]) == []
    assert catalog.keys(["d1"], HEADER)
    assert sorted(catalog.remove(["b", "never"])) == KEYS[1:3]
    assert catalog.keys(["d1"], HEADER) == catalog.sources(["s1"]) == {}
    assert catalog.ids() == ["c"]


def test_an_id_given_again_keeps_its_place_and_gets_the_new_content(catalog: Catalog) -> None:
    fill(catalog)
    catalog.add({"a": DocumentRow("d2", "{}")})
    assert catalog.ids() == ["a", "b", "c"]
    assert catalog.documents(["a"])["a"].digest == "d2"


def test_thousands_at_once(catalog: Catalog) -> None:
    names = [f"n{n}" for n in range(2_500)]
    catalog.add({name: DocumentRow(name, "{}") for name in names})
    assert sorted(catalog.documents(names + names)) == sorted(names)
    assert catalog.ids() == names


def test_namespaces_and_connections(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    database = Database(path)
    fill(Catalog(database, "one"))
    assert Catalog(database, "two").ids() == []
    other = Database(path)
    assert Catalog(other, "one").ids() == ["a", "b", "c"]
    assert sorted(Catalog(other, "one").remove(["a", "b"])) == KEYS[1:3]
    assert Catalog(database, "one").ids() == ["c"]
    database.close()
    other.close()
