"""A drawn dataset is what it says, and reads back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minireranker.errors import ConfigurationError
from minireranker.relevance import DrawnSettings, draw_dataset, drawn_queries, open_dataset
from minireranker.scenes import draw

SETTINGS = DrawnSettings(queries=6, candidates=30, seed=3)


def test_some_fit_and_a_third_nearly_do() -> None:
    for drawn in drawn_queries(SETTINGS):
        assert len(drawn.scenes) == 30
        assert 1 <= sum(drawn.fits) <= 3
    assert list(drawn_queries(SETTINGS)) == list(drawn_queries(SETTINGS))
    others = DrawnSettings(queries=6, candidates=30, seed=4)
    assert list(drawn_queries(SETTINGS)) != list(drawn_queries(others))


def test_where_the_fitting_ones_stand_says_nothing() -> None:
    places = [
        at
        for drawn in drawn_queries(DrawnSettings(queries=60, candidates=20))
        for at, fits in enumerate(drawn.fits)
        if fits
    ]
    assert 7 < np.mean(places) < 12
    assert min(places) < 3 < 16 < max(places)


def test_it_reads_back(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "drawn", SETTINGS)
    found = open_dataset(tmp_path / "drawn")
    assert len(found.queries) == 6
    assert not found.is_ranked, "no retriever has ordered them"
    assert found.is_listed
    for drawn, (name, query) in zip(drawn_queries(SETTINGS), found.queries.items(), strict=True):
        assert query.text == drawn.query.text
        assert len(found.candidates[name]) == 30
        listed = sorted(found.candidates[name])
        fitting = [found.qrels[name].get(document, 0) > 0 for document in listed]
        assert fitting == drawn.fits
    first = found.documents["q0000-000"].image
    scene = next(drawn_queries(SETTINGS)).scenes[0]
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(draw(scene)))


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(ConfigurationError, match="not empty"):
        draw_dataset(tmp_path, SETTINGS)
    with pytest.raises(ConfigurationError, match="candidates = 3: allowed is 4 or more"):
        DrawnSettings(candidates=3)
