"""The recipe of the built-in model: scenes, lessons, hints, and what comes out."""
