"""What is written of a mined query: lines that ``read_examples`` reads again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minireranker.engine.content import Content
from minireranker.engine.written import content_to_json
from minireranker.errors import InputError

from .examples import Examples


@dataclass(frozen=True, eq=False)
class MinedQuery:
    """One query, and the folder that paths are written from."""

    examples: Examples
    query: int
    instruction: str | None
    folder: Path

    def rows(self, labels: Mapping[int, float], drawn: Sequence[Content]) -> list[dict[str, Any]]:
        """Its positives and negatives, and a row for each label between 0 and 1.

        ``labels``: of documents, by their place in ``examples``; ``drawn`` are negatives. Raises
        InputError for a content that is not made of texts and paths.
        """
        sides = {at: _value(self.examples.contents[at], self.folder) for at in labels}
        bad = [side for at, side in sides.items() if labels[at] == 0]
        rows: list[dict[str, Any]] = [
            {
                "positives": [side for at, side in sides.items() if labels[at] == 1],
                "negatives": [*bad, *(_value(content, self.folder) for content in drawn)],
            },
            *(
                {"document": side, "label": labels[at]}
                for at, side in sides.items()
                if 0 < labels[at] < 1
            ),
        ]
        asked = {"query": _value(self.examples.contents[self.query], self.folder)}
        about = {} if self.instruction is None else {"instruction": self.instruction}
        return [asked | row | about for row in rows if any(row.values())]


def _value(content: Content, folder: Path) -> Any:
    """As ``read_examples`` reads it, paths from ``folder``."""
    found = content_to_json(content)
    if found is None:
        raise InputError(
            "a document is made of pixels in memory or comes from the network; write it to a file"
        )
    fields = {
        "text": found["texts"],
        "image": [os.path.relpath(path, folder) for path in found["images"]],
        "video": [
            [os.path.relpath(frame, folder) for frame in video]
            if isinstance(video, list)
            else os.path.relpath(video, folder)
            for video in found["videos"]
        ],
        "importances": [None if a is None else np.asarray(a).tolist() for a in content.importances],
    }
    kept = {name: value[0] if len(value) == 1 else value for name, value in fields.items() if value}
    return kept["text"] if list(kept) == ["text"] and len(found["texts"]) == 1 else kept
