"""Where each setting comes from: defaults, then a TOML file, the environment, and flags."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minireranker.errors import ConfigurationError

from .config import ServeConfig

__all__ = ["PREFIX", "Settled", "as_toml", "settle"]

PREFIX = "MINIRERANKER_SERVE_"
"""Of environment variables: ``MINIRERANKER_SERVE_HTTP_PORT`` is ``http_port``."""

_FILE = "config"
"""The variable, less its prefix, that names the TOML file."""
_OFF = "off"
"""Stands for None wherever a setting is written as text, TOML has no word for it."""
_CLUSTER = re.compile(r"SERVICE_(HOST|PORT.*)|PORT|PORT_\d+_(TCP|UDP)(_.*)?")
"""What Kubernetes sets in every pod, should a service be called ``minireranker-serve``."""
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_FIELDS = {spec.name: spec for spec in dataclasses.fields(ServeConfig)}


@dataclass(frozen=True)
class Settled:
    """A configuration, and in words where each of its values comes from."""

    config: ServeConfig
    origins: Mapping[str, str]


def settle(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settled:
    """The configuration of a file, variables and flags, each above the one before.

    ``flags``: by field name, as text, bool or list of texts; None where a flag was not given. A
    file may be named by the variable ``MINIRERANKER_SERVE_CONFIG`` too. An empty variable is as if
    it were not set. Raises ConfigurationError for unknown names (with the nearest known one),
    values that cannot be honoured, and a file that cannot be read.
    """
    variables = _variables(environment or {})
    file = file or (Path(variables[_FILE]) if _FILE in variables else None)
    variables.pop(_FILE, None)
    found: dict[str, Any] = {}
    origins = dict.fromkeys(_FIELDS, "default")
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    for source, values in (
        (str(file), _read(file)),
        ("environment", variables),
        ("flag", given),
    ):
        for name, value in values.items():
            _known(name, source)
            found[name] = _parsed(name, value, source)
            origins[name] = source
    return Settled(ServeConfig(**found), origins)


def as_toml(settled: Settled) -> str:
    """Every value with its origin beside it; a file that ``settle`` reads back. No secrets."""
    lines = []
    for name, spec in _FIELDS.items():
        value, origin = getattr(settled.config, name), settled.origins[name]
        if spec.metadata.get("secret"):
            state = "not set" if value is None else "set, not shown"
            lines.append(f"# {name} is {state}: {origin}")
        else:
            lines.append(f"{name} = {_written(value)}  # {origin}")
    return "\n".join(lines) + "\n"


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those that are ours and not empty, by field name."""
    ours = {
        name.removeprefix(PREFIX): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value
    }
    return {name.lower(): text for name, text in ours.items() if not _CLUSTER.fullmatch(name)}


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # a TOML error, or bytes that are no UTF-8
        raise ConfigurationError(f"configuration file {file}: {error}") from error


def _known(name: str, source: str) -> None:
    if name in _FIELDS:
        return
    near = difflib.get_close_matches(name.lower(), _FIELDS, n=1, cutoff=0.0)
    raise ConfigurationError(f"{source}: there is no setting {name!r}; the nearest is {near[0]}")


def _parsed(name: str, value: Any, source: str) -> Any:
    """A value as its field holds it. What does not fit is left as it is: the record says so."""
    kind = str(_FIELDS[name].type)
    if value == _OFF and kind.endswith("None"):
        return None
    kind = kind.removesuffix(" | None")
    try:
        if kind.startswith("tuple["):
            return _tuple(value, kind[len("tuple[") : kind.index(",")])
        return _scalar(value, kind, is_text=source in ("environment", "flag"))
    except ValueError as error:
        raise ConfigurationError(f"{source}: {name} = {value!r} is no {kind}") from error


def _tuple(value: Any, inner: str) -> Any:
    """Texts may hold several, separated by commas; a TOML list holds what it holds."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    parts: Iterable[Any] = (
        part
        for item in value
        for part in (item.split(",") if isinstance(item, str) else [item])
        if part != ""
    )
    return tuple(
        _scalar(part.strip() if isinstance(part, str) else part, inner, is_text=True)
        for part in parts
    )


def _scalar(value: Any, kind: str, *, is_text: bool) -> Any:
    """One value. Only what was text to begin with is read as a number. Raises ValueError."""
    if not isinstance(value, str):
        return value
    if kind == "Path":
        return Path(value)
    if kind == "str" or not is_text:
        return value
    if kind == "bool":
        if value.lower() not in _BOOLS:
            raise ValueError(value)
        return _BOOLS[value.lower()]
    return int(value.replace("_", "")) if kind == "int" else float(value)


def _written(value: Any) -> str:
    """As TOML, whose strings are those of JSON."""
    if value is None:
        return json.dumps(_OFF)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value if isinstance(value, int | float) else str(value))
