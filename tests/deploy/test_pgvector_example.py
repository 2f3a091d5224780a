"""examples/pgvector against a real PostgreSQL with pgvector and a real sidecar."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from minireranker import Embedder
from minireranker.relevance import DrawnSettings, drawn_queries, ndcg
from minireranker.scenes import Scene, SceneQuery, draw
from minireranker.serve.client import Client, Id

pytest.importorskip("psycopg", reason="the example's client of PostgreSQL: pip install psycopg")
import psycopg

QUERIES = 5
PICTURES = 30
"""A query; all of them together are what is searched."""
RETRIEVED = 50


@dataclass(frozen=True)
class Collection:
    """A folder of pictures, and what is asked about them."""

    folder: Path
    scenes: dict[str, Scene]
    queries: list[SceneQuery]

    def fitting(self, query: SceneQuery) -> set[str]:
        """Of all pictures, those a query is true of."""
        return {name for name, scene in self.scenes.items() if query.matches(scene)}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("pictures")
    drawn = list(drawn_queries(DrawnSettings(QUERIES, PICTURES, seed=20)))
    scenes = {
        f"{number}/{at:02d}.png": scene
        for number, one in enumerate(drawn)
        for at, scene in enumerate(one.scenes)
    }
    for name, scene in scenes.items():
        (folder / name).parent.mkdir(exist_ok=True)
        draw(scene).save(folder / name)
    return Collection(folder, scenes, [one.query for one in drawn])


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "pgvector" / "search.py"
    spec = importlib.util.spec_from_file_location("pgvector_search", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their types up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sidecar(serve: Callable[..., dict[str, Any]]) -> str:
    ready = serve("--model", "builtin", "--grpc-port", 0, "--deadline-seconds", 3600)
    return f"127.0.0.1:{ready['grpc_port']}"


@pytest.fixture(scope="module")
def search(example: ModuleType, database: str, sidecar: str) -> Iterator[Any]:
    embedder = Embedder.from_pretrained("builtin")
    with psycopg.connect(database, autocommit=True) as connection, Client(sidecar) as client:
        yield example.Search(connection, client, embedder)


@pytest.fixture(scope="module")
def filled(search: Any, collection: Collection) -> Any:
    """All pictures added."""
    assert search.add(collection.folder) == []
    return search


def test_reranking_betters_the_order_of_the_retriever(filled: Any, collection: Collection) -> None:
    judged = {one.text: dict.fromkeys(collection.fitting(one), 1.0) for one in collection.queries}
    retrieved, reranked = {}, {}
    for text in judged:
        found, failed = filled.ask(text, RETRIEVED)
        assert failed == []
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        reranked[text] = [one.id for one in found]
        retrieved[text] = [one.id for one in sorted(found, key=lambda one: one.retrieved)]
    before, after = ndcg(judged, retrieved), ndcg(judged, reranked)
    assert all(after[text] >= before[text] for text in judged)
    assert sum(after.values()) - sum(before.values()) > 0.3 * len(judged)


def test_the_table_retrieves_what_is_nearest(filled: Any, collection: Collection) -> None:
    embedder = Embedder.from_pretrained("builtin")
    names = sorted(collection.scenes)
    pictures = embedder.encode([collection.folder / name for name in names]).pooled
    text = collection.queries[0].text
    cosines = dict(zip(names, pictures @ embedder.encode([text]).pooled[0], strict=True))
    found, _ = filled.ask(text, RETRIEVED)
    assert sorted(one.retrieved for one in found) == list(range(1, RETRIEVED + 1))
    in_order = sorted(found, key=lambda one: one.retrieved)
    assert [one.cosine for one in in_order] == pytest.approx(
        [float(cosines[one.id]) for one in in_order], abs=1e-5
    )
    # The index is approximate: nearly all of the nearest, not always all.
    nearest = sorted(names, key=lambda name: -cosines[name])[:RETRIEVED]
    assert len({one.id for one in found} & set(nearest)) >= 0.9 * RETRIEVED


def test_what_the_sidecar_forgot_is_sent_again(filled: Any, sidecar: str) -> None:
    found, _ = filled.ask("a red star", RETRIEVED)
    with Client(sidecar) as client:
        assert client.evict([one.id for one in found]) == RETRIEVED
        assert len(client.rank("a red star", [Id(found[0].id)]).failed) == 1
        assert filled.ask("a red star", RETRIEVED) == (found, [])
        assert client.rank("a red star", [Id(found[0].id)]).failed == ()


def test_a_damaged_picture_and_one_that_is_gone_are_named(
    search: Any, sidecar: str, tmp_path: Path
) -> None:
    for name in ("whole.png", "gone.png"):
        draw(Scene((), seed=len(name))).save(tmp_path / name)
    (tmp_path / "torn.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "notes.txt").write_text("no picture")
    (failed,) = search.add(tmp_path)
    assert "torn.png" in failed
    (tmp_path / "gone.png").unlink()
    with Client(sidecar) as client:
        client.evict(["gone.png"])
    found, unranked = search.ask("an empty sheet", 1_000)
    assert "whole.png" in {one.id for one in found}
    assert "gone.png" not in {one.id for one in found}
    assert [line.partition(":")[0] for line in unranked] == ["gone.png"]


def test_the_program_does_as_compose_has_it_do(
    compose: dict[str, Any], database: str, sidecar: str, tmp_path: Path
) -> None:
    program, *arguments = compose["services"]["example"]["command"]
    given = {"--sidecar": sidecar, "--pictures": str(tmp_path / "pictures"), "--draw": "30"}
    for name, value in given.items():
        arguments[arguments.index(name) + 1] = value
    path = Path(__file__).parents[2] / "examples" / "pgvector" / Path(program).name
    done = subprocess.run(
        [sys.executable, "-P", path, *arguments],
        env={**os.environ, "DATABASE_URL": database},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    title, heading, *rows = done.stdout.strip().splitlines()
    assert title in arguments
    assert heading.split() == ["rank", "score", "retrieved", "cosine", "picture"]
    scores = [float(row.split()[1]) for row in rows]
    assert len(scores) == 10
    assert scores == sorted(scores, reverse=True)
