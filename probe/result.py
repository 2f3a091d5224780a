"""What a probe found: the choice with its reasons, the profile, and every curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minireranker.configs import Profile
from minireranker.errors import ConfigurationError

from .choice import Choice
from .curves import Curve, Interval
from .settings import ProbeSettings

PROFILE, CURVES, FIGURE = "probed.toml", "probe.json", "probe.png"


@dataclass(frozen=True)
class Blocking:
    """What becomes of the scores at one exit while the second segment does not see the first."""

    exit_layer: int
    opened: Mapping[str, Curve]
    """By measure: seen only from this layer on; at the exit itself never."""
    closed: Mapping[str, Curve]
    """By measure: seen only before this layer; at 0 never."""


@dataclass(frozen=True)
class ProbeResult:
    """All that was measured. Exits count layers run; layers count from 0."""

    choice: Choice
    profile: Profile
    """The choice, in the template that was probed."""
    settings: ProbeSettings
    facts: Mapping[str, Any]
    """Machine, versions, model, data: no path."""
    relevance: Mapping[str, Curve]
    """By metric, over exits."""
    chance: Mapping[str, float]
    """By metric, what an order that knows nothing would get on these data."""
    similarity: Mapping[str, Curve] = field(default_factory=dict)
    """``centred`` and ``raw`` mean cosine over layers run; empty without two equal spans."""
    blocking: tuple[Blocking, ...] = ()
    """At the exit that is proposed, then at the last layer where that is another one."""
    keep: Mapping[str, Curve] = field(default_factory=dict)
    """By measure, over keep ratios, at the proposed exit."""
    proposed: Mapping[str, Interval] = field(default_factory=dict)
    """The choice as a whole: metrics, and correlations with the dense model. Nothing is trained."""
    dense: Mapping[str, Interval] = field(default_factory=dict)
    """The dense model's metrics on the same pairs."""
    failed: tuple[str, ...] = ()
    """Documents that could not be read, and why."""
    is_interrupted: bool = False
    """Stopped by hand: everything here is of what was finished."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        choice = self.choice
        return {
            **self.facts,
            "interrupted": self.is_interrupted,
            "choice": {
                "supported": choice.is_supported,
                "exit_layer": choice.exit_layer,
                "band": list(choice.band),
                "keep_ratio": choice.keep_ratio,
                "reasons": list(choice.reasons),
            },
            "proposed": {name: _row(item) for name, item in self.proposed.items()},
            "dense": {name: _row(item) for name, item in self.dense.items()},
            "relevance_by_exit": _columns(self.relevance),
            "chance": dict(self.chance),
            "similarity_by_layer": _columns(self.similarity),
            "blocking": [
                {
                    "exit_layer": part.exit_layer,
                    "sees_from_layer": _columns(part.opened),
                    "sees_before_layer": _columns(part.closed),
                }
                for part in self.blocking
            ],
            "keep_ratio": _columns(self.keep),
            "failed": len(self.failed),
        }

    def save(self, folder: Path | str, *, figure: bool = True) -> list[Path]:
        """Write the profile, the curves and their picture; the files written.

        Raises ConfigurationError for a folder that cannot be written, MissingDependencyError
        without matplotlib where ``figure`` is wanted.
        """
        import json

        from .profile_file import profile_text

        folder = Path(folder)
        written = [folder / PROFILE, folder / CURVES]
        texts = (profile_text(self), json.dumps(self.to_dict(), indent=1) + "\n")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, text in zip(written, texts, strict=True):
                path.write_text(text, encoding="utf-8")
            if figure:
                from .figure import draw

                draw(self, folder / FIGURE)
                written.append(folder / FIGURE)
        except OSError as error:
            raise ConfigurationError(
                f"{folder}: {error.strerror or error}; name a folder that can be written"
            ) from error
        return written


def _row(found: Interval) -> dict[str, float]:
    return {name: round(getattr(found, name), 6) for name in ("value", "low", "high")}


def _columns(curves: Mapping[str, Curve]) -> dict[str, Any]:
    return {name: curve.columns() for name, curve in curves.items()}
