"""`minireranker vectors` on a small index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from minireranker.cli import app
from minireranker.retrieval import VectorIndex
from minireranker.retrieval.vectors import TokenVectors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    # Enough vectors that a damaged one is in another block than the ids.
    drawn = random.standard_normal((3 * 9000 + 3, 8)).astype(np.float32)
    unit = torch.nn.functional.normalize(torch.from_numpy(drawn))
    encoded = TokenVectors.of(list(unit[:27_000].split(9000)), unit[27_000:])
    path = tmp_path / "vectors"
    with VectorIndex.create(
        path, identity="x", encoder="pooled", dim=8, pooled_dim=8, dtype="float32"
    ) as index:
        index.append(["a", "b", "c"], encoded)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["vectors", *map(str, arguments)])


def test_info_counts(folder: Path) -> None:
    found = json.loads(run("info", folder, "--json").stdout)
    assert (found["documents"], found["dim"], found["dtype"]) == (3, 8, "float32")
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert 0 < sum(found["bytes"].values()) <= files
    shown = run("info", folder)
    assert shown.exit_code == 0
    assert "float32" in shown.stdout


def test_delete_and_compact(folder: Path) -> None:
    answer = run("delete", folder, "b", "nobody")
    assert "deleted 1 document, 1 id was not there; 2 left" in answer.stdout
    assert run("compact", folder).exit_code == 0
    with VectorIndex.open(folder) as index:
        assert index.ids == ["a", "c"]


def test_verify_names_what_is_hit(folder: Path) -> None:
    sound = run("verify", folder)
    assert (sound.exit_code, "all as written" in sound.stdout) == (0, True)
    segment = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    with VectorIndex.open(folder) as index:
        (rows,) = index.rows(["b"])
        vector = rows.pool[rows.starts[0] + 4500].numpy().tobytes()
    data = bytearray(segment.read_bytes())
    data[data.index(vector)] ^= 1
    segment.write_bytes(data)
    damaged = run("verify", folder)
    assert damaged.exit_code == 1
    assert "damaged places" in damaged.stdout
    assert "to encode again: a, b\n" in damaged.stdout


def test_an_index_that_cannot_be_opened_is_examined(folder: Path) -> None:
    (manifest,) = [path for path in folder.iterdir() if path.suffix == ".json"]
    manifest.write_text("{}")
    assert run("info", folder).exit_code == 2
    assert run("verify", folder).exit_code == 1


def test_no_index(tmp_path: Path) -> None:
    for command in ("info", "verify", "compact"):
        answer = run(command, tmp_path / "nowhere")
        assert answer.exit_code == 2
        assert "nowhere" in "".join(answer.stderr.split())
