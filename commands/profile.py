"""`minireranker profile`: which profiles there are, what they say, and which model they fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from minireranker.configs import Profile, available_profiles, resolve_profile
from minireranker.errors import ProfileError, UnknownProfileError

from .profile_probe import probe

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)
app.command()(probe)

_Name = Annotated[str | None, typer.Argument(help="A profile's name, or a file ending in .toml.")]
_Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Say whether it fits this checkpoint.")
]


@app.callback()
def _profile() -> None:
    """Look at profiles, or have one proposed."""


@app.command()
def show(name: _Name = None, model: _Model = None) -> None:
    """List the profiles, or print every field of one."""
    console, checkpoint, size = Console(), None, None
    if model is not None:
        checkpoint, size = _read(model)
    if name is None:
        console.print(_list(available_profiles(checkpoint), size))
    elif size is None:
        console.print(_fields(_find(name)))
    else:
        layers, width = size
        found = resolve_profile(name, layers=layers, hidden_size=width, checkpoint=checkpoint)
        console.print(_fields(found))
        console.print(Text(f"fits {model}: {layers} layers, hidden size {width}", style="green"))


def _read(model: str) -> tuple[Path, tuple[int, int]]:
    """The checkpoint's directory, and the layers and hidden size of its decoder."""
    from minireranker.models.checkpoint import Checkpoint
    from minireranker.models.hub import resolve

    checkpoint = Checkpoint.open(resolve(model))
    text = checkpoint.config.text
    return checkpoint.path, (text.num_hidden_layers, text.hidden_size)


def _find(name: str) -> Profile:
    if name.endswith(".toml"):
        return Profile.from_toml(name)
    profiles = available_profiles()
    if name in profiles:
        return profiles[name]
    family = sorted(other for other in profiles if other.startswith(f"{name}-"))
    advice = f"it means one of {', '.join(family)}, by the model: add --model DIR, or name one"
    names = f"use one of {', '.join(sorted(profiles))}, or a path that ends in .toml"
    raise UnknownProfileError(f"no profile {name!r} as such; {advice if family else names}")


def _list(profiles: dict[str, Profile], size: tuple[int, int] | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("profile", "exit", "band", "keep", "order", "fits"):
        table.add_column(column)
    for name, profile in profiles.items():
        exit_layer = "last" if profile.exit_layer is None else str(profile.exit_layer)
        band = "all" if profile.band is None else f"{profile.band[0]} to {profile.band[1]}"
        fits = Text(_wants(profile)) if size is None else _verdict(profile, size)
        table.add_row(
            Text(name), exit_layer, band, f"{profile.keep_ratio:g}", profile.template.order, fits
        )
    return table


def _wants(profile: Profile) -> str:
    wants = [f"{profile.layers} layers"] if profile.layers else []
    wants += [f"hidden size {profile.hidden_size}"] if profile.hidden_size else []
    return ", ".join(wants) or "any model"


def _verdict(profile: Profile, size: tuple[int, int]) -> Text:
    try:
        profile.for_model(*size)
    except ProfileError as error:
        return Text(f"no: {error.field} = {error.value}; allowed is {error.allowed}", style="red")
    return Text("yes", style="green")


def _fields(profile: Profile) -> Table:
    """Every field, by the name it has in a TOML file; what is inside a section with a dot."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in dataclasses.asdict(profile).items():
        inner = value if isinstance(value, dict) else {None: value}
        for key, item in inner.items():
            table.add_row(f"{name}.{key}" if key else name, Text(_spelt(item)))
    return table


def _spelt(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{value[0]}, {value[1]})"
    return (
        repr(value) if isinstance(value, str) else "as the model" if value is None else str(value)
    )
