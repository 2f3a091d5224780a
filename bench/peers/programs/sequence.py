"""A side of a pair, read; and token sequences as the model takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from .pixels import Visual
from .template import EMPTY, Template


@dataclass(frozen=True, eq=False)
class Side:
    """A query or a document, read."""

    text: str
    visuals: tuple[Visual, ...]
    is_query: bool

    def written(self, template: Template) -> str:
        """Label and content, pictures before words."""
        pictures = "".join(visual.text for visual in self.visuals)
        words = self.text if self.text.strip() or self.visuals else EMPTY
        return f"{template.label(is_query=self.is_query)}{pictures}{words}"

    def unseen(self) -> Side:
        """The same with pictures that the vision tower has not seen."""
        visuals = tuple(replace(visual, features=None) for visual in self.visuals)
        return replace(self, visuals=visuals)


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens in a row."""

    ids: Tensor
    """[tokens], int64."""
    positions: Tensor
    """[3, tokens]: time, row, column, from zero."""
    visuals: tuple[Visual, ...]
    """In the order of their placeholders."""

    def __len__(self) -> int:
        """Tokens."""
        return len(self.ids)

    @property
    def span(self) -> int:
        """The position of what follows."""
        return int(self.positions.max()) + 1
