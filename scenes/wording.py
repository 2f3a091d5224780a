"""Queries about a scene: true ones, and ones that are nearly true."""

from __future__ import annotations

import dataclasses
from random import Random

from .phrases import Phrase, Relation, SceneQuery
from .scene import COLOURS, SHAPES, SIZES, Figure, Scene, random_look


def query_about(scene: Scene, random: Random) -> SceneQuery:
    """A query that is true of ``scene``: mostly two of its figures and how they lie."""
    if len(scene.figures) < 2 or random.random() < 0.15:
        return SceneQuery(_described(random.choice(scene.figures), random))
    one, other = random.sample(scene.figures, 2)
    relations = [relation for relation in Relation if relation.holds(one, other)]
    relation = None if random.random() < 0.1 else random.choice(relations)
    return SceneQuery(_described(one, random), _described(other, random), relation)


def wrong_query(scene: Scene, random: Random) -> SceneQuery:
    """A query that is not true of ``scene``, most often by one word of a true one."""
    for _ in range(20):
        query = _spoilt(query_about(scene, random), random)
        if not query.matches(scene):
            return query
    while True:
        size, colour, shape = random_look(random)
        query = SceneQuery(Phrase(shape, colour, size))
        if not query.matches(scene):
            return query


def _described(figure: Figure, random: Random) -> Phrase:
    size = figure.size if random.random() < 0.4 else None
    colour = figure.colour if random.random() < 0.9 else None
    return Phrase(figure.shape, colour, size)


def _spoilt(query: SceneQuery, random: Random) -> SceneQuery:
    kind = random.random()
    if query.second is None or kind < 0.25:
        return _reworded(query, random)
    if query.relation is not None and kind < 0.6:
        return dataclasses.replace(query, relation=query.relation.opposite)
    if kind < 0.8:
        return dataclasses.replace(query, first=query.second, second=query.first)
    return _exchanged(query, random)


def _reworded(query: SceneQuery, random: Random) -> SceneQuery:
    """With another word in one of its phrases."""
    name = "second" if query.second is not None and random.random() < 0.5 else "first"
    phrase: Phrase = getattr(query, name)
    said = [key for key in ("shape", "colour", "size") if getattr(phrase, key) is not None]
    key = random.choice(said)
    words = {"shape": SHAPES, "colour": COLOURS, "size": SIZES}[key]
    word = random.choice([word for word in words if word != getattr(phrase, key)])
    changed = dataclasses.replace(phrase, **{key: word})
    if name == "first":
        return dataclasses.replace(query, first=changed)
    return dataclasses.replace(query, second=changed)


def _exchanged(query: SceneQuery, random: Random) -> SceneQuery:
    """With the colours or the shapes of its two phrases exchanged."""
    assert query.second is not None, "there are two"
    key = random.choice(("colour", "shape"))
    one, other = getattr(query.first, key), getattr(query.second, key)
    return dataclasses.replace(
        query,
        first=dataclasses.replace(query.first, **{key: other}),
        second=dataclasses.replace(query.second, **{key: one}),
    )
