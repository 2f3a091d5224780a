"""Scenes that nearly fit a query: hard negatives, and scenes that do fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random

from .phrases import Phrase, SceneQuery
from .scene import COLOURS, GRID, SHAPES, SIZES, Figure, Scene, random_scene

_TRIES = 1000


def fitting_scene(query: SceneQuery, random: Random) -> Scene:
    """A scene the query is true of: its figures at places that fit, among others.

    Raises ValueError for a query that no scene fits.
    """
    for _ in range(_TRIES):
        scene = random_scene(random)
        figures = list(scene.figures)
        for at, phrase in enumerate(query.phrases):
            figures[at] = _dressed(figures[at], phrase)
        made = Scene(tuple(figures), random.getrandbits(32))
        if query.matches(made):
            return made
    raise ValueError(f"no scene was found for {query.text!r}")


def near_miss(query: SceneQuery, scene: Scene, random: Random) -> Scene:
    """``scene``, which fits ``query``, changed until it no longer does: mostly by one thing.

    The two figures exchange places or colours, one of them loses a word that was said, or moves, or
    goes. Raises ValueError where ``scene`` does not fit.
    """
    if not query.matches(scene):
        raise ValueError(f"{query.text!r} is not true of the scene to begin with")
    while (witness := query.witness(scene)) is not None:
        change = random.choice(_CHANGES if len(witness) == 2 else _CHANGES_OF_ONE)
        figures = change(list(scene.figures), witness, random)
        cells = {(figure.row, figure.column) for figure in figures}
        if len(cells) == len(figures):
            scene = Scene(tuple(figures), random.getrandbits(32))
    return scene


def _dressed(figure: Figure, phrase: Phrase) -> Figure:
    return dataclasses.replace(
        figure,
        shape=phrase.shape,
        colour=phrase.colour or figure.colour,
        size=phrase.size or figure.size,
    )


_Change = Callable[[list[Figure], tuple[Figure, ...], Random], list[Figure]]


def _exchanged(*names: str) -> _Change:
    def change(figures: list[Figure], witness: tuple[Figure, ...], random: Random) -> list[Figure]:
        one, other = witness
        mine, theirs = ({name: getattr(f, name) for name in names} for f in witness)
        figures[figures.index(one)] = dataclasses.replace(one, **theirs)
        figures[figures.index(other)] = dataclasses.replace(other, **mine)
        return figures

    return change


def _repainted(figures: list[Figure], witness: tuple[Figure, ...], random: Random) -> list[Figure]:
    figure = random.choice(witness)
    changed = random.choice(
        (
            dataclasses.replace(figure, colour=random.choice(COLOURS)),
            dataclasses.replace(figure, shape=random.choice(SHAPES)),
            dataclasses.replace(figure, size=random.choice(SIZES)),
        )
    )
    figures[figures.index(figure)] = changed
    return figures


def _moved(figures: list[Figure], witness: tuple[Figure, ...], random: Random) -> list[Figure]:
    figure = random.choice(witness)
    row, column = divmod(random.randrange(GRID * GRID), GRID)
    figures[figures.index(figure)] = dataclasses.replace(figure, row=row, column=column)
    return figures


def _removed(figures: list[Figure], witness: tuple[Figure, ...], random: Random) -> list[Figure]:
    figures.remove(random.choice(witness))
    return figures


_CHANGES_OF_ONE: tuple[_Change, ...] = (_repainted, _removed)
_CHANGES: tuple[_Change, ...] = (
    _exchanged("row", "column"),
    _exchanged("colour"),
    _exchanged("shape"),
    _repainted,
    _moved,
    _removed,
)
