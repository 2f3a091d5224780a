"""Scenes of coloured figures, queries about them, and whether a query is true of a scene.

What the built-in model is trained on, and what the demo draws. Nothing here needs a model.
"""

from .drawing import SIDE, draw
from .near_miss import fitting_scene, near_miss
from .phrases import Phrase, Relation, SceneQuery
from .scene import COLOURS, GRID, SHAPES, SIZES, Figure, Scene, random_scene
from .wording import query_about, wrong_query

__all__ = [
    "COLOURS",
    "GRID",
    "SHAPES",
    "SIDE",
    "SIZES",
    "Figure",
    "Phrase",
    "Relation",
    "Scene",
    "SceneQuery",
    "draw",
    "fitting_scene",
    "near_miss",
    "query_about",
    "random_scene",
    "wrong_query",
]
