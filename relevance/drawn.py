"""A dataset of scenes: queries, pictures that fit, pictures that nearly do, and others.

Every query has candidates of its own, so that most of what it is up against is hard: a third of
them differ from a picture that fits by one thing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from minireranker.engine.progress import Progress
from minireranker.errors import ConfigurationError
from minireranker.scenes import (
    Scene,
    SceneQuery,
    draw,
    fitting_scene,
    near_miss,
    query_about,
    random_scene,
)

__all__ = ["DrawnQuery", "DrawnSettings", "draw_dataset", "drawn_queries"]


@dataclass(frozen=True)
class DrawnSettings:
    """Of a dataset. Raises ConfigurationError for a number that cannot be."""

    queries: int = 500
    candidates: int = 100
    """A query; one to three of them fit."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Compare the fields."""
        for name, least in (("queries", 1), ("candidates", 4), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigurationError(f"{name} = {value!r}: allowed is {least} or more")


@dataclass(frozen=True)
class DrawnQuery:
    """A query, and its candidates in no order that says anything."""

    query: SceneQuery
    scenes: tuple[Scene, ...]

    @property
    def fits(self) -> list[bool]:
        """Of each scene, whether the query is true of it."""
        return [self.query.matches(scene) for scene in self.scenes]


def drawn_queries(settings: DrawnSettings) -> Iterator[DrawnQuery]:
    """The queries of a dataset; the same for the same settings."""
    for number in range(settings.queries):
        random = Random(f"drawn/{settings.seed}/{number}")
        query = query_about(random_scene(random), random)
        fitting = [fitting_scene(query, random) for _ in range(random.randint(1, 3))]
        misses = [
            near_miss(query, random.choice(fitting), random)
            for _ in range(settings.candidates // 3)
        ]
        scenes = (fitting + misses)[: settings.candidates]
        while len(scenes) < settings.candidates:
            scene = random_scene(random)
            if not query.matches(scene):
                scenes.append(scene)
        random.shuffle(scenes)
        yield DrawnQuery(query, tuple(scenes))


def draw_dataset(folder: Path, settings: DrawnSettings, *, progress: bool | None = None) -> None:
    """Write a dataset that ``open_dataset`` reads, with a picture for every candidate.

    Raises ConfigurationError for a folder that is not empty or cannot be written.
    """
    _make(folder)
    with Progress("drawing", settings.queries, progress) as bar:
        lines: dict[str, list[str]] = {name: [] for name in _FILES}
        for number, drawn in enumerate(drawn_queries(settings)):
            _add(folder, f"q{number:04d}", drawn, lines)
            bar.advance()
    for name, written in lines.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(_FILES[name] + "".join(f"{line}\n" for line in written), encoding="utf-8")


_FILES = {
    "queries.jsonl": "",
    "corpus.jsonl": "",
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\n",
    "top_ranked.tsv": "query-id\tcorpus-id\n",
}


def _add(folder: Path, name: str, drawn: DrawnQuery, lines: dict[str, list[str]]) -> None:
    lines["queries.jsonl"].append(json.dumps({"_id": name, "text": drawn.query.text}))
    for at, (scene, fits) in enumerate(zip(drawn.scenes, drawn.fits, strict=True)):
        document = f"{name}-{at:03d}"
        picture = f"pictures/{name}/{at:03d}.png"
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        draw(scene).save(folder / picture)
        lines["corpus.jsonl"].append(json.dumps({"_id": document, "image": picture}))
        lines["top_ranked.tsv"].append(f"{name}\t{document}")
        if fits:
            lines["qrels/test.tsv"].append(f"{name}\t{document}\t1")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be made ({error.strerror}); name another folder"
        ) from error
    if taken is not None:
        raise ConfigurationError(f"{folder} is not empty; name another folder")
