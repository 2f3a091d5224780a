"""`minireranker client` against a server: the library's ranking, ids, failures, exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from minireranker import Document, Reranker
from minireranker.commands.client import app
from minireranker.commands.client_output import readable
from minireranker.errors import InputError
from minireranker.scenes import draw, random_scene


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for number in range(3):
        pixels = np.asarray(draw(random_scene(Random(number))))
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (tmp_path / "words.txt").write_text("a red circle")
    return tmp_path


@pytest.fixture
def ask(address: Any) -> Iterator[Any]:
    server = address()
    runner = CliRunner()

    def invoke(*arguments: Any) -> Result:
        return runner.invoke(app, [*map(str, arguments), "--server", server])

    return invoke


def test_rank_prints_what_the_library_says(ask: Any, builtin: Reranker, files: Path) -> None:
    said = ask("rank", "a red circle", files, files / "words.txt", "--json", "-k", 0)
    assert said.exit_code == 0, said.output
    answer = json.loads(said.stdout)
    paths = [files / f"{number}.png" for number in range(3)]
    own = builtin.rank("a red circle", [*paths, "a red circle"])
    names = [*(path.name for path in paths), "words.txt"]
    got = [(one["id"], one["score"], one["probability"]) for one in answer["results"]]
    assert got == [(names[hit.index], hit.score, hit.probability) for hit in own]
    assert [(one["id"], one["error"]) for one in answer["failed"]] == [("torn.png", "InputError")]
    assert answer["timings_ns"]["total"] > 0 < answer["tokens"]["computed"]
    shown = ask("rank", "a red circle", files, "-k", 2)
    assert "torn.png" in shown.stderr
    assert len(shown.stdout.splitlines()) == 1 + 2 + 1


def test_index_then_rank_by_id_then_evict(ask: Any, files: Path) -> None:
    indexed = ask("index", files / "0.png", files / "1.png", files / "torn.png")
    assert indexed.exit_code == 2
    assert indexed.stdout.split() == ["0.png", "1.png"]
    assert "torn.png" in indexed.stderr
    ids = ("--id", "0.png", "--id", "1.png")
    ranked = json.loads(ask("rank", "red", *ids, "--json").stdout)
    assert {one["id"] for one in ranked["results"]} == {"0.png", "1.png"}
    assert ranked["tokens"]["cached"] > 0
    assert ask("evict", "0.png", "9.png").stdout == "1 document forgotten, 1 unknown\n"
    gone = ask("rank", "red", "--id", "0.png")
    assert gone.exit_code == 2
    assert "0.png" in gone.stderr


def test_a_picture_can_be_asked_for_and_info_is_json(ask: Any, files: Path) -> None:
    said = ask("rank", "", files, "--query-image", files / "1.png", "--json")
    assert len(json.loads(said.stdout)["results"]) == 3
    info = json.loads(ask("info").stdout)
    assert (info["model"], info["ready"]) == ("reranker", True)


def test_an_address_needs_a_port() -> None:
    said = CliRunner().invoke(app, ["info", "--server", "localhost"])
    assert isinstance(said.exception, InputError)
    assert "write HOST:PORT" in str(said.exception)


def test_what_is_uploaded_is_read_as_it_is_sent_not_all_before() -> None:
    opened: list[int] = []

    def file(number: int) -> bytes:
        opened.append(number)
        if number == 1:
            raise InputError("cannot be read")
        return b"a file"

    failed: list[Any] = []
    documents = [Document(image=partial(file, number), id=f"{number}") for number in range(4)]
    sent = readable(documents, failed)
    assert (next(sent).id, opened, failed) == ("0", [0], [])
    assert (next(sent).id, opened) == ("2", [0, 1, 2])
    assert [(one.index, one.id) for one in failed] == [(1, "1")]
