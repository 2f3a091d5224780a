"""Rankings side by side: one file, each in its own order, what fits framed, text escaped."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minireranker.engine.content import Document
from minireranker.engine.types import KeptVisual, RankedDocument, Ranking
from minireranker.errors import ConfigurationError
from minireranker.report import Column, write_comparison

EVIL = "<script>alert('&')</script>"


def ranking(names: list[str], picture: Path, kept: KeptVisual | None = None) -> Ranking:
    visuals = () if kept is None else (kept,)
    return Ranking(
        tuple(
            RankedDocument(at, name, 1.0 - at, 0.5, Document(image=picture, id=name), visuals)
            for at, name in enumerate(names)
        )
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (128, 128), (200, 30, 30)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def cards(section: str) -> list[tuple[str, str]]:
    """Classes and name of each card."""
    return re.findall(r'<li class="([^"]*)">.*?title="([^"]*)"', section, re.DOTALL)


def test_every_column_keeps_its_own_order_and_frames_what_fits(
    tmp_path: Path, picture: Path
) -> None:
    columns = [
        Column("dense", "slow", ranking(["a", "b", "c"], picture)),
        Column("mini", "quick", ranking(["b", "a", "c"], picture)),
    ]
    out = tmp_path / "r.html"
    write_comparison(out, query="red", columns=columns, marked={"b"}, facts={"dense": "1 s"})
    dense, mini = re.findall(r"<section><h2>.*?</section>", out.read_text(), re.DOTALL)
    assert cards(dense) == [("card first", "a"), ("card marked", "b"), ("card", "c")]
    assert cards(mini) == [("card first marked", "b"), ("card", "a"), ("card", "c")]
    assert "slow" in dense
    assert "quick" in mini


def test_what_was_not_kept_is_faded(tmp_path: Path, picture: Path) -> None:
    pages = []
    for indices in (np.arange(16), np.arange(8)):
        kept = KeptVisual((1, 4, 4), indices)
        out = tmp_path / "r.html"
        write_comparison(out, query="red", columns=[Column("x", "", ranking(["a"], picture, kept))])
        pages.append(re.findall(r'src="(data:[^"]*)"', out.read_text()))
    whole, half = pages
    assert len(whole) == len(half) == 1
    assert whole != half


def test_text_is_escaped_and_the_file_named_that_cannot_be_written(
    tmp_path: Path, picture: Path
) -> None:
    columns = [Column(EVIL, EVIL, ranking([EVIL], picture))]
    out = tmp_path / "r.html"
    write_comparison(
        out,
        query=EVIL,
        columns=columns,
        title=EVIL,
        subtitle=EVIL,
        notes=[EVIL],
        facts={EVIL: EVIL},
    )
    assert "<script>" not in out.read_text()
    with pytest.raises(ConfigurationError, match=r"no/r\.html.*name another file"):
        write_comparison(tmp_path / "no" / "r.html", query="x", columns=columns)
