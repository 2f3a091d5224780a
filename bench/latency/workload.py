"""What is measured: so many queries over so many candidates of one kind and size, by name."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

from minireranker.errors import ConfigurationError

__all__ = ["CUSTOM", "LatencyWorkload", "find_workload", "workloads"]

CUSTOM = "custom"
"""Text queries over photographs, to be changed field by field."""

_KINDS = {"query": ("text", "image"), "document": ("text", "image", "video")}
_TOKEN = 32
"""Side of a visual token, pixels."""


@dataclass(frozen=True)
class LatencyWorkload:
    """Counts and sizes; the same ``seed`` draws the same bytes. Raises ConfigurationError."""

    name: str
    query: str = "text"
    """text or image."""
    document: str = "image"
    """text, image or video."""
    queries: int = 10
    documents: int = 100
    """The pool that candidates are drawn from."""
    candidates: int = 100
    """Of one query; the whole pool where that is smaller."""
    width: int = 640
    height: int = 480
    """Of every image and frame, pixels: multiples of 32."""
    frames: int = 0
    """Of a video."""
    query_words: int = 12
    """Of a text query."""
    document_words: int = 0
    """Of a document, beside its picture if it has one."""
    stream: bool = False
    """Nothing is cached at first, and what is read stays: a page that recurs is a hit."""
    seed: int = 0
    about: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, kinds in _KINDS.items():
            if getattr(self, name) not in kinds:
                self._refuse(name, f"one of {', '.join(kinds)}")
        if self.query == "image" and self.document != "text":
            self._refuse("document", "text where queries are images")
        least = {"queries": 1, "documents": 2, "candidates": 2, "width": _TOKEN, "height": _TOKEN}
        least |= {"query_words": int(self.query == "text"), "seed": 0}
        least |= {"document_words": int(self.document == "text")}
        least |= {"frames": 2 if self.document == "video" else 0}
        for name, low in least.items():
            value = getattr(self, name)
            if type(value) is not int or value < low:
                self._refuse(name, f"{low} or more")
        for name in ("width", "height"):
            if getattr(self, name) % _TOKEN:
                self._refuse(name, f"a multiple of {_TOKEN}")

    def _refuse(self, name: str, allowed: str) -> None:
        value = getattr(self, name)
        raise ConfigurationError(f"workload {self.name}: {name} = {value!r}: allowed is {allowed}")

    @classmethod
    def of(cls, name: str, fields: Mapping[str, Any]) -> Self:
        """From a table of a TOML file. Raises ConfigurationError for a key there is not."""
        known = {spec.name for spec in dataclasses.fields(cls)} - {"name"}
        if unknown := sorted(set(fields) - known):
            raise ConfigurationError(
                f"workload {name}: unknown {', '.join(unknown)}; there are "
                f"{', '.join(sorted(known))}"
            )
        return cls(name, **fields)

    def changed(self, settings: Sequence[str]) -> Self:
        """With fields as ``NAME=VALUE`` says. Raises ConfigurationError."""
        fields = dataclasses.asdict(self)
        name = fields.pop("name")
        for setting in settings:
            key, equals, value = setting.partition("=")
            if not equals or key not in fields:
                raise ConfigurationError(
                    f"--set {setting}: give NAME=VALUE; there are {', '.join(fields)}"
                )
            fields[key] = _value(setting, value, fields[key])
        return self.of(name, fields)

    @property
    def pairs(self) -> int:
        """Of all queries together."""
        return self.queries * self.listed

    @property
    def listed(self) -> int:
        """Candidates of one query."""
        return min(self.candidates, self.documents)

    @property
    def visual_tokens(self) -> int:
        """Of one picture or video, before pruning, where a profile's limits resize nothing."""
        if "text" == self.document == self.query:
            return 0
        tokens = self.width * self.height // _TOKEN**2
        return tokens * -(-self.frames // 2) if self.document == "video" else tokens

    def lowered(
        self, *, queries: int | None, documents: int | None, candidates: int | None
    ) -> tuple[Self, list[str]]:
        """With other counts, and a sentence for each that is lower than it was."""
        asked = {"queries": queries, "documents": documents, "candidates": candidates}
        wanted: dict[str, Any] = {n: value for n, value in asked.items() if value is not None}
        changed = dataclasses.replace(self, **wanted)
        said = [
            f"{name} {getattr(self, name)} -> {value}"
            for name, value in wanted.items()
            if value < getattr(self, name)
        ]
        return changed, said

    def scaled(self, share: float) -> tuple[Self, list[str]]:
        """Documents, candidates and queries times ``share``, at least 2, 2 and 1.

        A stream keeps its queries, so that a page recurs as often as before.
        """
        return self.lowered(
            queries=None if self.stream else max(1, round(self.queries * share)),
            documents=max(2, round(self.documents * share)),
            candidates=max(2, round(self.listed * share)),
        )


def workloads() -> dict[str, LatencyWorkload]:
    """The ones that come with the package, by name."""
    text = resources.files(__package__).joinpath("workloads.toml").read_text(encoding="utf-8")
    return {name: LatencyWorkload.of(name, table) for name, table in tomllib.loads(text).items()}


def find_workload(name: str) -> LatencyWorkload:
    """By name, or from a TOML file with a workload's fields. Raises ConfigurationError."""
    known = workloads() | {CUSTOM: LatencyWorkload(CUSTOM)}
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix != ".toml":
        raise ConfigurationError(
            f"workload {name!r}: there are {', '.join(known)}; name one, or a TOML file"
        )
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"workload file {path}: {error}") from error
    return LatencyWorkload.of(path.stem, fields)


def _value(setting: str, text: str, like: Any) -> Any:
    """``text`` as a value of the kind that ``like`` is."""
    if isinstance(like, bool):
        if text in ("true", "false"):
            return text == "true"
        raise ConfigurationError(f"--set {setting}: give true or false")
    if isinstance(like, int):
        try:
            return int(text)
        except ValueError as error:
            raise ConfigurationError(f"--set {setting}: give a whole number") from error
    return text
