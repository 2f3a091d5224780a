"""A changed byte, wherever it is, is an error that says what it hits; never a wrong answer."""

from __future__ import annotations

import random
import runpy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minireranker.errors import VectorIndexError
from minireranker.retrieval.vector_index import VectorIndex
from minireranker.retrieval.vector_index.layout import BLOCK
from minireranker.retrieval.vectors import TokenVectors

SAMPLES = runpy.run_path(str(Path(__file__).with_name("index_documents.py")))
kept_of, files_of = SAMPLES["kept_of"], SAMPLES["files_of"]
DIM, POOLED = 96, 64
TRIALS = 400


def documents(count: int, seed: int) -> TokenVectors:
    draw = torch.Generator().manual_seed(seed)
    ends = np.cumsum([0, *(at % 30 for at in range(count))])
    rows = torch.nn.functional.normalize(torch.randn(int(ends[-1]), DIM, generator=draw), dim=1)
    pooled = torch.nn.functional.normalize(torch.randn(count, POOLED, generator=draw), dim=1)
    return TokenVectors(rows, ends, None, pooled)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original")
    made: dict[str, Any] = {"identity": "i", "encoder": "e", "dim": DIM, "pooled_dim": POOLED}
    with VectorIndex.create(path, dtype="int8", ann="hnsw", **made) as index:
        for first, count in ((0, 1200), (1200, 200), (1400, 3)):
            ids = [f"document {at}" for at in range(first, first + count)]
            index.append(ids, documents(count, first), [f'{{"at": "{name}"}}' for name in ids])
        index.append(["document 7", "document 1300"], documents(2, 9))
        index.delete(["document 8"])
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "copy")


def everything(path: Path) -> Any:
    """All an index answers with."""
    with VectorIndex.open(path) as index:
        ids = index.ids
        sources = [index.source(name) for name in ids[::50]]
        found = index.search(torch.eye(POOLED)[:2], len(ids))
        return ids, sources, kept_of(index, ids), [(f.ids, f.scores.tolist()) for f in found]


def answer(path: Path) -> Any:
    """The same, or the message of the error that it is."""
    try:
        return everything(path)
    except VectorIndexError as error:
        return str(error)


@dataclass
class Change:
    """One file made worse, and as it was again."""

    file: Path
    at: int
    cut: bool

    def __enter__(self) -> None:
        self.data = self.file.read_bytes()
        if self.cut:
            self.file.write_bytes(self.data[: self.at])
            return
        with open(self.file, "r+b") as file:
            file.seek(self.at)
            file.write(bytes([self.data[self.at] ^ (1 << self.at % 8)]))

    def __exit__(self, *_: object) -> None:
        self.file.write_bytes(self.data)


def changes(path: Path) -> Iterator[Change]:
    draw, files = random.Random(5), sorted(files_of(path).items())
    for trial in range(TRIALS):
        name, size = files[trial % len(files)]
        # Small parts lie first: half of the changes are there.
        most = size if trial % 2 else min(size, 30_000)
        yield Change(path / name, draw.randrange(most), trial % 10 == 9)


def test_no_changed_byte_goes_unseen(path: Path) -> None:
    right, raised = everything(path), 0
    for change in changes(path):
        tag = f"{change.file.name} at {change.at}, cut: {change.cut}"
        with change:
            report = VectorIndex.examine(path)
            assert {item.path for item in report.damages} == {change.file}, tag
            if change.file.suffix == ".graph":
                continue  # made anew by the first search: see test_vector_index_search.py
            if not change.cut and change.file.suffix == ".segment":
                assert any(item.start <= change.at < item.stop for item in report.damages), tag
            found = answer(path)
            raised += isinstance(found, str)
            assert change.file.name in found if isinstance(found, str) else found == right, tag
    assert VectorIndex.examine(path).sound
    assert everything(path) == right
    assert raised > TRIALS * 0.6


@pytest.mark.parametrize("name", ["index.json", "00000000.segment"])
def test_a_missing_file_is_named(path: Path, name: str) -> None:
    with VectorIndex.open(path) as index:
        ids = index.ids
        (path / name).unlink()
        (damage,) = index.verify().damages
        assert damage.path == path / name
        # Those replaced since, or deleted, are no loss.
        lost = set() if name == "index.json" else {f"document {at}" for at in range(1200)}
        assert set(damage.documents) == lost - {"document 7", "document 8"}
        assert index.ids == ids
    with pytest.raises(VectorIndexError, match=name if name != "index.json" else "holds no"):
        VectorIndex.open(path)
    assert not VectorIndex.examine(path).sound


def test_another_sound_file_is_not_taken_for_the_one_meant(tmp_path: Path) -> None:
    ids = ["document 7", "document 1300"]
    made: dict[str, Any] = {"identity": "i", "encoder": "e", "dim": DIM, "pooled_dim": POOLED}
    for seed in (1, 2):
        with VectorIndex.create(tmp_path / f"{seed}", dtype="int8", **made) as index:
            index.append(ids, documents(2, seed))
    shutil.copyfile(tmp_path / "1" / "00000000.segment", tmp_path / "2" / "00000000.segment")
    with pytest.raises(VectorIndexError, match="checksums are not those"):
        VectorIndex.open(tmp_path / "2")
    (damage,) = VectorIndex.examine(tmp_path / "2").damages
    assert damage.part == "whole file"


def test_documents_in_other_blocks_can_be_read(path: Path) -> None:
    with VectorIndex.open(path) as index:
        segment = index._snapshot.parts[0].segment
        start, stop = segment.layout.spans["tokens"]
        assert stop - start > 4 * BLOCK
        with Change(segment.file.path, stop - 10, False):
            kept_of(index, ["document 1", "document 100"])
            with pytest.raises(
                VectorIndexError, match=r"tokens of 'document \d+'.*lists every"
            ) as info:
                kept_of(index, ["document 1", "document 1199"])
            assert "other documents" in str(info.value)
            report = VectorIndex.open(path).verify()
            assert "document 1199" in report.lost
            assert "document 100" not in report.lost
            assert {item.part for item in report.damages} == {"tokens"}


def test_what_is_hit_can_be_replaced_and_the_rest_is_as_it_was(path: Path) -> None:
    before = everything(path)[2]
    with VectorIndex.open(path) as index:
        segment = index._snapshot.parts[0].segment
        middle = sum(segment.layout.spans["tokens"]) // 2
        with open(segment.file.path, "r+b") as file:
            file.seek(middle)
            file.write(b"\x80\x80\x80")
        lost = index.verify().lost
        assert 10 < len(lost) < 400
        with pytest.raises(VectorIndexError, match="damaged"):
            index.compact()
        assert len(files_of(path)) == 2 + len(index._snapshot.parts)
        index.append(lost, documents(len(lost), 77))
        index.compact()
        assert index.verify().sound
        after = kept_of(index, list(before))
        assert {name for name in before if after[name] != before[name]} == set(lost)


def test_a_report_reads_well(path: Path) -> None:
    report = VectorIndex.examine(path)
    assert report.sound
    assert str(report).endswith("all as written")
    assert report.bytes == sum(files_of(path).values())
    assert report.files == len(files_of(path))
    with Change(path / "00000000.segment", 200_000, False):
        text = str(VectorIndex.examine(path))
        assert "00000000.segment: bytes 0" in text


@pytest.mark.parametrize("name", ["nowhere", "a\0b", "long" * 2000])
def test_paths_that_nothing_can_have_are_examined_too(tmp_path: Path, name: str) -> None:
    assert [item.part for item in VectorIndex.examine(tmp_path / name).damages] == ["manifest"]
    with pytest.raises(VectorIndexError):
        VectorIndex.open(tmp_path / name)
