"""From what a caller writes ("mini", a TOML path, a Profile) to a profile that fits a model."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from minireranker.configs.profile import Profile
from minireranker.errors import ProfileError, UnknownProfileError


def available_profiles(checkpoint: Path | None = None) -> dict[str, Profile]:
    """All profiles by name: the package's, then the checkpoint's own (its ``profiles/*.toml``).

    A checkpoint's profile replaces the package's of the same name.
    """
    found = {}
    with resources.as_file(resources.files("minireranker.configs")) as packaged:
        for path in sorted(packaged.glob("*.toml")):
            found[path.stem] = Profile.from_toml(path)
    if checkpoint is not None:
        for path in sorted((checkpoint / "profiles").glob("*.toml")):
            found[path.stem] = Profile.from_toml(path)
    return found


def resolve_profile(
    spec: str | Path | Profile, *, layers: int, hidden_size: int, checkpoint: Path | None = None
) -> Profile:
    """The profile meant by ``spec``, validated against a model of that depth and width.

    A name is looked up as given, then with the size the model has: ``"mini"`` means ``mini-2b`` on
    a model of 28 layers. Raises UnknownProfileError, ProfileError or ConfigurationError.
    """
    if isinstance(spec, Profile):
        return spec.for_model(layers, hidden_size)
    if str(spec).endswith(".toml"):
        return Profile.from_toml(spec).for_model(layers, hidden_size)
    profiles = available_profiles(checkpoint)
    if str(spec) in profiles:
        return profiles[str(spec)].for_model(layers, hidden_size)
    for name, profile in profiles.items():
        if name.startswith(f"{spec}-") and _fits(profile, layers, hidden_size):
            return profile.for_model(layers, hidden_size)
    fitting = [name for name, p in profiles.items() if _fits(p, layers, hidden_size)]
    raise UnknownProfileError(
        f"no profile {str(spec)!r} for a model of {layers} layers, hidden size {hidden_size}; "
        f"use one of {', '.join(sorted(fitting))}, a path that ends in .toml, or a Profile(...)"
    )


def _fits(profile: Profile, layers: int, hidden_size: int) -> bool:
    try:
        profile.for_model(layers, hidden_size)
    except ProfileError:
        return False
    return True
