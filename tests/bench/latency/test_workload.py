"""Workloads by name, from files and flags; what cannot be meant is refused by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from minireranker.bench.latency.workload import LatencyWorkload, find_workload, workloads
from minireranker.errors import ConfigurationError


def test_the_ones_that_come_along_have_the_sizes_they_say() -> None:
    known = workloads()
    tokens = {name: load.visual_tokens for name, load in known.items()}
    assert tokens == {
        "coco-t2i": 300,
        "coco-i2t": 300,
        "visual-documents": 1302,
        "msrvtt": 4480,
        "reuse-stream": 1302,
    }
    assert {load.listed for load in known.values()} == {100}
    stream = known["reuse-stream"]
    assert (stream.queries, stream.documents, stream.stream) == (100, 999, True)
    assert all(load.about for load in known.values())


def test_a_file_gives_a_custom_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('document = "video"\nframes = 7\nwidth = 64\nheight = 32\ndocuments = 5\n')
    load = find_workload(str(path))
    assert (load.name, load.visual_tokens, load.listed) == ("mine", 2 * 4, 5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sides = 3\n", "unknown sides; there are .*width"),
        ("width = 100\n", "width = 100: allowed is a multiple of 32"),
        ('document = "sound"\n', "document = 'sound': allowed is one of text, image, video"),
        ('query = "image"\n', "document = 'image': allowed is text where queries are images"),
        ('document = "video"\n', "frames = 0: allowed is 2 or more"),
        ("queries = 1.5\n", "queries = 1.5: allowed is 1 or more"),
        ("width = \n", "workload file .*mine.toml"),
    ],
)
def test_what_a_file_has_wrong_is_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        find_workload(str(path))


def test_fields_change_by_name() -> None:
    load = find_workload("custom").changed(["width=64", "stream=true", "query=text"])
    assert (load.width, load.stream) == (64, True)
    for setting, reason in (
        ("wide=64", "give NAME=VALUE; there are .*width"),
        ("width", "give NAME=VALUE"),
        ("width=wide", "give a whole number"),
        ("stream=1", "give true or false"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            load.changed([setting])


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match=r"there are coco-t2i, .*custom"):
        find_workload("coco")


def test_lower_counts_are_said_and_higher_ones_are_not() -> None:
    load = LatencyWorkload("x", queries=10, documents=100, candidates=100)
    fewer, said = load.lowered(queries=20, documents=30, candidates=None)
    assert (fewer.queries, fewer.documents, fewer.listed, fewer.pairs) == (20, 30, 30, 600)
    assert said == ["documents 100 -> 30"]
    half, said = load.scaled(0.5)
    assert (half.queries, half.documents, half.candidates) == (5, 50, 50)
    assert len(said) == 3
    assert load.scaled(1.0) == (load, [])
    stream, _ = workloads()["reuse-stream"].scaled(0.2)
    assert (stream.queries, stream.documents, stream.listed) == (100, 200, 20)
    assert stream.pairs / stream.documents == 10, "a page recurs as often"
    least, _ = load.scaled(0.0)
    assert (least.queries, least.documents, least.candidates) == (1, 2, 2)
