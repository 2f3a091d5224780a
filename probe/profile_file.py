"""A proposed profile as a TOML file that says how it was found."""

from __future__ import annotations

import textwrap

from minireranker.train.profile_file import profile_toml

from .result import ProbeResult


def profile_text(result: ProbeResult) -> str:
    """TOML that ``Profile.from_toml`` reads back, behind the reasons as comments."""
    return "\n".join(_comment(result)) + "\n\n" + profile_toml(result.profile)


def _comment(result: ProbeResult) -> list[str]:
    model, data = result.facts["model"], result.facts["data"]
    head = (
        f"Proposed by minireranker profile probe for {model['name']} on {data['name']}: "
        f"{data['queries']} queries, {data['pairs']} pairs. Nothing was trained."
    )
    sentences = [head, *result.choice.reasons]
    if result.is_interrupted:
        sentences.append("Stopped by hand before it was through.")
    if result.proposed:
        figures = ", ".join(f"{name} {found.value:.3f}" for name, found in result.proposed.items())
        dense = ", ".join(f"{name} {found.value:.3f}" for name, found in result.dense.items())
        sentences.append(f"All of it together, untrained: {figures}; dense: {dense}")
    text = [line for sentence in sentences for line in textwrap.wrap(_plain(sentence), 96)]
    return [f"# {line}" for line in text]


def _plain(text: str) -> str:
    """Without control characters, which no TOML comment may hold."""
    return "".join(char if char.isprintable() else " " for char in text)
