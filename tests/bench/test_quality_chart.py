"""The picture of a quality result: one file for light and dark pages, drawn without a display."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minireranker.bench.quality_chart import INK, MARK, OTHER, chart, draw_quality
from minireranker.errors import ConfigurationError, MissingDependencyError


def row(mean: float, exit_layer: int | None = 4) -> dict[str, Any]:
    found = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
    return {
        "exit": exit_layer,
        "band": None if exit_layer is None else [2, exit_layer],
        "keep": None if exit_layer is None else 0.5,
        "queries": 3,
        "metrics": dict.fromkeys(("nDCG@10", "Hit@1", "MRR@10"), found),
    }


def result(**systems: dict[str, Any]) -> dict[str, Any]:
    load = {
        "dataset": "a $b_{ $name",
        "model": "folder/tiny",
        "embedder": None,
        "queries": 3,
        "pairs": 9,
        "confidence": 0.95,
    }
    return {"systems": systems, "reference": "dense", "workload": load, "interrupted": False}


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def picture(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


def shades(path: Path, colour: str) -> int:
    """Pixels of just that colour."""
    pixels = picture(path)
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int(((pixels[..., :3] == wanted).all(-1) & (pixels[..., 3] == 255)).sum())


@pytest.mark.parametrize("ground", ["#ffffff", "#0d1117"])
@pytest.mark.parametrize("colour", [INK, MARK, OTHER])
def test_colours_stand_out_from_light_and_dark(colour: str, ground: str) -> None:
    low, high = sorted((luminance(colour), luminance(ground)))
    assert (high + 0.05) / (low + 0.05) >= 4.0


def test_every_system_is_drawn_without_a_background(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    draw_quality(result(retriever=row(0.4, None), dense=row(0.8), mini=row(0.7)), path)
    pixels = picture(path)
    assert pixels[0, 0, 3] == pixels[-1, -1, 3] == 0, "transparent"
    assert shades(path, MARK) > 1.5 * shades(path, OTHER) > 0, "two profiles, one retriever"
    assert shades(path, INK) > 100, "words"


def test_a_row_more_is_a_taller_picture(tmp_path: Path) -> None:
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    draw_quality(result(dense=row(0.8)), few)
    draw_quality(result(dense=row(0.8), mini=row(0.7)), many)
    assert len(picture(many)) > len(picture(few))


def test_what_is_not_finished_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    empty = {**row(0.5, None), "queries": 0}
    draw_quality({**result(dense=row(0.8), retriever=empty), "interrupted": True}, path)
    assert not shades(path, OTHER)
    draw_quality(result(retriever=empty), path)
    assert not shades(path, MARK)


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name another file"):
        draw_quality(result(dense=row(0.8)), tmp_path)


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"minireranker\[quality\]"):
        draw_quality(result(dense=row(0.8)), tmp_path / "chart.png")


def test_what_a_row_is_stands_beside_it() -> None:
    figure = chart(result(embedder=row(0.5, None), mini=row(0.7) | {"queries": 2}))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["embedder", "mini\nexit 4, band 2-4, keep 0.5, 2 of 3 queries"]
    assert figure.get_suptitle().startswith("tiny on a $b_{ $name: 3 queries, 9 pairs")
