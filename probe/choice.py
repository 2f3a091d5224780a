"""The rules: from curves to an exit, a band and a keep ratio, and a sentence for each.

A threshold counts as kept where the lower end of the bootstrap's interval keeps it, so that little
data leads to a careful choice and not to a lucky one. A rule wants it kept by all milder reductions
too: a single layer that looks good among bad ones is noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .curves import Interval
from .settings import ProbeSettings


@dataclass(frozen=True)
class Choice:
    """What is proposed, and why."""

    exit_layer: int
    band: tuple[int, int]
    keep_ratio: float = 1.0
    is_supported: bool = True
    """False: the data do not support any reduction; this is the dense model."""
    reasons: tuple[str, ...] = ()


def objection(queries: int, gain: Interval, settings: ProbeSettings) -> str | None:
    """Why nothing may be chosen; None: it may.

    ``gain``: the metric behind the last layer, over what chance would give.
    """
    if queries < settings.min_queries:
        return (
            f"{queries} queries with relevant and other documents are too few to choose by: "
            f"{settings.min_queries} are asked for (min_queries)"
        )
    if gain.low <= settings.max_loss:
        return (
            f"behind its last layer the model's {settings.metric} is {gain.value:+.3f} over chance "
            f"({gain.low:+.3f} to {gain.high:+.3f}), no more than what may be lost "
            f"({settings.max_loss:g}): it does not rank these data (random weights, another task, "
            "or another template)"
        )
    return None


def choose_exit(
    losses: Mapping[int, Interval], layers: int, settings: ProbeSettings
) -> tuple[int, str]:
    """The earliest exit that keeps the metric, and all later ones too.

    ``losses``: by exit, the metric there less that of the last layer.
    """
    found = layers
    for exit_layer in range(layers - 1, 0, -1):
        if losses[exit_layer].low < -settings.max_loss:
            break
        found = exit_layer
    name, allowed = settings.metric, settings.max_loss
    if found == layers:
        return (
            found,
            f"exit {layers}, the last layer: earlier ones may lose over {allowed:g} {name}",
        )
    loss = losses[found]
    return found, (
        f"exit {found} of {layers}: the earliest from which on {name} stays within {allowed:g} of "
        f"the last layer's ({loss.value:+.3f}, at least {loss.low:+.3f})"
    )


def choose_low(
    agreement: Mapping[int, Interval], exit_layer: int, settings: ProbeSettings
) -> tuple[int, str]:
    """The latest band start that keeps the scores.

    ``agreement``: by first layer of the band, how scores at the exit correlate with the open ones.
    """
    found = 0
    for low in sorted(low for low in agreement if 0 < low < exit_layer):
        if agreement[low].low < settings.min_correlation:
            break
        found = low
    if not found:
        return 0, _no_limit("starts at layer 0: a later start", settings)
    return found, _limit("starts", found, agreement[found], "the latest", settings)


def choose_high(
    agreement: Mapping[int, Interval], low: int, exit_layer: int, settings: ProbeSettings
) -> tuple[int, str]:
    """The earliest band end that keeps the scores, after ``low``. ``agreement``: by band end."""
    found = exit_layer
    for high in sorted((high for high in agreement if low < high < exit_layer), reverse=True):
        if agreement[high].low < settings.min_correlation:
            break
        found = high
    if found == exit_layer:
        return found, _no_limit(f"ends at the exit {exit_layer}: an earlier end", settings)
    return found, _limit("ends", found, agreement[found], "the earliest", settings)


def choose_keep(losses: Mapping[float, Interval], settings: ProbeSettings) -> tuple[float, str]:
    """The smallest keep ratio that keeps the metric. ``losses``: against keeping all."""
    found = 1.0
    for ratio in sorted(losses, reverse=True):
        if losses[ratio].low < -settings.max_loss:
            break
        found = ratio
    if found == 1.0:
        return found, f"keep all visual tokens: fewer may lose over {settings.max_loss:g}"
    loss = losses[found]
    return found, (
        f"keep {found:g} of the visual tokens: the fewest that keep {settings.metric} within "
        f"{settings.max_loss:g} ({loss.value:+.3f}, at least {loss.low:+.3f})"
    )


def _limit(verb: str, layer: int, found: Interval, which: str, settings: ProbeSettings) -> str:
    return (
        f"the band {verb} at layer {layer}: {which} at which blocked scores correlate with open "
        f"ones by {settings.min_correlation:g} ({found.value:.3f}, at least {found.low:.3f})"
    )


def _no_limit(what: str, settings: ProbeSettings) -> str:
    return (
        f"the band {what} may correlate with the open scores by under {settings.min_correlation:g}"
    )
