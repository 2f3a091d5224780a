"""Which peers there are, what each can do, and which interpreter runs it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from .environment import Environment, environments

__all__ = ["PeerSpec", "available"]

_PROGRAMS = Path(__file__).resolve().parent / "programs" / "__main__.py"
_METHODS = {
    "transformers": {
        "pairs": "dense-query-first",
        "batched": "dense-query-first",
        "prefix": "dense",
        "prefix-batched": "dense",
    },
    "sentence-transformers": {"cross-encoder": "dense-query-first"},
    "vllm": {"score": "dense"},
}
_BORROWED = frozenset({"transformers"})
"""Peers that this interpreter can run too: all they import is ours as well."""


@dataclass(frozen=True)
class PeerSpec:
    """One peer, as it stands on this machine."""

    name: str
    """``transformers``, ``sentence-transformers`` or ``vllm``."""
    methods: dict[str, str]
    """Ways to score, each with the profile of the unmodified model whose scores it must give:
    ``dense-query-first`` (the published order) or ``dense`` (the reusable side first)."""
    requirements: Path
    """pip's list of what its environment holds."""
    python: Path | None
    """The interpreter that runs it; None: absent."""
    arguments: tuple[str, ...]
    """What that interpreter is started with."""
    in_venv: bool
    """Whether it is that of a virtual environment of the peer's own, and not this one."""
    absence: str | None = None
    """Why it cannot run here, and what to do; None where it can."""


def available(folder: Path | None = None) -> dict[str, PeerSpec]:
    """Every peer by name, absent ones too; nothing is started or imported.

    ``folder``: of the virtual environments, default ``environments()``. A peer is there once its
    install was finished, and as long as its lists have not changed since.
    """
    return {name: _spec(name, folder or environments()) for name in _METHODS}


def _spec(name: str, folder: Path) -> PeerSpec:
    home = Environment(name, folder)
    python, missing = (home.python, None) if home.fault is None else (None, home.fault)
    in_venv = python is not None
    if python is None and name in _BORROWED:
        python, missing = Path(sys.executable), None
    return PeerSpec(
        name,
        dict(_METHODS[name]),
        home.lists[0],
        python,
        # Isolated from PYTHONPATH and the user's site: it is ours that those variables are for.
        ("-I" if in_venv else "-P", str(_PROGRAMS), name.replace("-", "_")),
        in_venv,
        missing,
    )
