"""Scenes and queries: what is said of a scene is true of it, and pictures show it."""

from __future__ import annotations

import dataclasses
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minireranker.scenes import (
    GRID,
    SIDE,
    Figure,
    Phrase,
    Relation,
    Scene,
    SceneQuery,
    draw,
    fitting_scene,
    near_miss,
    query_about,
    random_scene,
    wrong_query,
)

RED = Figure("circle", "red", "small", 0, 1)
BLUE = Figure("square", "blue", "large", 2, 3)
SCENE = Scene((RED, BLUE))


@pytest.mark.parametrize(
    ("relation", "forward", "backward"),
    [
        (Relation.LEFT, True, False),
        (Relation.RIGHT, False, True),
        (Relation.ABOVE, True, False),
        (Relation.BELOW, False, True),
        (None, True, True),
    ],
)
def test_relations(relation: Relation | None, forward: bool, backward: bool) -> None:
    one, other = Phrase("circle", "red"), Phrase("square", size="large")
    assert SceneQuery(one, other, relation).matches(SCENE) is forward
    assert SceneQuery(other, one, relation).matches(SCENE) is backward


def test_what_is_in_one_row_is_neither_above_nor_below() -> None:
    level = Scene((RED, dataclasses.replace(BLUE, row=0)))
    for relation in (Relation.ABOVE, Relation.BELOW):
        assert not SceneQuery(Phrase("circle"), Phrase("square"), relation).matches(level)


def test_one_figure_is_not_two() -> None:
    assert SceneQuery(Phrase("circle")).matches(SCENE)
    assert not SceneQuery(Phrase("circle"), Phrase("circle")).matches(SCENE)


def test_words() -> None:
    query = SceneQuery(Phrase("star", "orange"), Phrase("cross", "red", "small"), Relation.ABOVE)
    assert query.text == "an orange star above a small red cross"
    assert SceneQuery(Phrase("star"), Phrase("cross")).text == "a star and a cross"


@given(st.integers(0, 10**9))
def test_queries_about_a_scene_are_what_they_say(seed: int) -> None:
    random = Random(seed)
    scene = random_scene(random)
    query = query_about(scene, random)
    assert query.matches(scene)
    assert not wrong_query(scene, random).matches(scene)
    fitting = fitting_scene(query, random)
    assert query.matches(fitting)
    assert not query.matches(near_miss(query, fitting, random))


def test_a_near_miss_is_near() -> None:
    random = Random(3)
    query = SceneQuery(Phrase("circle", "red"), Phrase("square", "blue"), Relation.LEFT)
    for _ in range(50):
        missed = near_miss(query, SCENE, random)
        assert len(set(missed.figures) & set(SCENE.figures)) + len(missed.figures) >= 2
        assert len(SCENE.figures) - len(missed.figures) in (0, 1)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="one a cell of 4 x 4"):
        Scene((RED, dataclasses.replace(BLUE, row=0, column=1)))
    with pytest.raises(ValueError, match="not true of the scene"):
        near_miss(SceneQuery(Phrase("star")), SCENE, Random(0))


def test_a_picture_shows_each_figure_in_its_cell() -> None:
    image = draw(SCENE)
    assert image.size == (SIDE, SIDE)
    assert image.mode == "RGB"
    assert image.tobytes() == draw(SCENE).tobytes()
    pixels = np.asarray(image).astype(int)
    cell = SIDE // GRID
    for row in range(GRID):
        for column in range(GRID):
            part = pixels[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
            spread = np.ptp(part.reshape(-1, 3), axis=0).max()
            shown = (row, column) in {(0, 1), (2, 3)}
            assert bool(spread > 100) is shown, (row, column)
    red = pixels[:cell, cell : 2 * cell]
    assert ((red[..., 0] > 180) & (red[..., 2] < 90)).sum() > 60
    large = pixels[2 * cell : 3 * cell, 3 * cell :]
    assert ((large[..., 2] > 170) & (large[..., 0] < 90)).sum() > 300
