"""Profiles: the numbers that turn one checkpoint into a dense or a reduced reranker."""

from minireranker.configs.profile import Limits, Profile, Template
from minireranker.configs.resolve import available_profiles, resolve_profile

__all__ = ["Limits", "Profile", "Template", "available_profiles", "resolve_profile"]
