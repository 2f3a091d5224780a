"""What is drawn: the same for the same seed, on the engine's grid, as files that peers read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minireranker.bench.latency.drawing import draw_material
from minireranker.bench.latency.workload import LatencyWorkload
from minireranker.configs import Limits
from minireranker.engine.reading import read_content

SMALL = {"width": 96, "height": 64, "queries": 3, "documents": 5, "candidates": 4}


def test_the_same_seed_draws_the_same_and_another_does_not(tmp_path: Path) -> None:
    load = LatencyWorkload("x", **SMALL)
    drawn = [draw_material(load, tmp_path / name, Limits(), importances=True) for name in "ab"]
    pixels = [[item.image.read_bytes() for item in each.documents] for each in drawn]
    assert pixels[0] == pixels[1]
    assert len(set(pixels[0])) == 5, "no two pictures are one"
    assert drawn[0].candidates == drawn[1].candidates
    assert [q.text for q in drawn[0].queries] == [q.text for q in drawn[1].queries]
    other = draw_material(
        LatencyWorkload("x", seed=1, **SMALL), tmp_path / "c", Limits(), importances=True
    )
    assert other.documents[0].image.read_bytes() not in pixels[0]
    assert other.queries[0].text != drawn[0].queries[0].text


def test_fewer_documents_are_the_first_of_more(tmp_path: Path) -> None:
    more = draw_material(LatencyWorkload("x", **SMALL), tmp_path / "a", Limits(), importances=True)
    fewer = draw_material(
        LatencyWorkload("x", **(SMALL | {"documents": 2})),
        tmp_path / "b",
        Limits(),
        importances=True,
    )
    for one, other in zip(more.documents, fewer.documents, strict=False):
        assert one.image.read_bytes() == other.image.read_bytes()
        assert np.array_equal(one.importances, other.importances)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_importances_are_one_a_visual_token(tmp_path: Path, kind: str) -> None:
    frames = 5 if kind == "video" else 0
    load = LatencyWorkload("x", document=kind, frames=frames, **SMALL)
    drawn = draw_material(load, tmp_path, Limits(), importances=True)
    document = drawn.documents[0].document()
    reading = read_content(document.content, Limits())
    (visual,) = reading.visuals
    grid = visual.token_grid if kind == "video" else visual.token_grid[1:]
    assert drawn.documents[0].importances.shape == grid
    assert reading.pruned(document.content.importances, 0.5).kept[0].size == visual.tokens / 2


def test_the_tokens_of_a_workload_are_the_engines(tmp_path: Path) -> None:
    load = LatencyWorkload("x", width=96, height=64, queries=1, documents=2)
    drawn = draw_material(load, tmp_path, Limits(), importances=False)
    assert drawn.documents[0].importances is None
    (visual,) = read_content(drawn.documents[0].document().content, Limits()).visuals
    assert visual.tokens == load.visual_tokens == 6


def test_queries_and_documents_are_of_their_kinds(tmp_path: Path) -> None:
    load = LatencyWorkload("x", query="image", document="text", document_words=9, **SMALL)
    drawn = draw_material(load, tmp_path, Limits(), importances=True)
    assert drawn.queries[0].text is None
    assert drawn.queries[0].wire() == {"image": str(drawn.queries[0].image)}
    with Image.open(drawn.queries[0].image) as image:
        assert image.size == (96, 64)
    texts = [item.text for item in drawn.documents]
    assert {len(text.split()) for text in texts} == {9}
    assert drawn.documents[1].wire() == {"text": texts[1]}


def test_a_video_goes_to_a_peer_as_frames(tmp_path: Path) -> None:
    load = LatencyWorkload("x", document="video", frames=3, document_words=2, **SMALL)
    item = draw_material(load, tmp_path, Limits(), importances=False).documents[0]
    wire = item.wire()
    assert [Path(frame).is_file() for frame in wire["video"]["frames"]] == [True] * 3
    assert len({Path(frame).read_bytes() for frame in wire["video"]["frames"]}) == 3
    assert len(wire["text"].split()) == 2


def test_in_a_stream_every_page_recurs() -> None:
    from minireranker.bench.latency.drawing import _candidates
    from minireranker.bench.latency.workload import workloads

    lists = list(_candidates(workloads()["reuse-stream"]))
    assert {len(set(listed)) for listed in lists} == {100}
    met = np.bincount([at for listed in lists for at in listed], minlength=999)
    assert (met.sum(), met.mean().round(1), (met > 0).all()) == (10_000, 10.0, True)
