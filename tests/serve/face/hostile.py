"""Tables of hostile requests, all together."""

from __future__ import annotations

from .hostile_bodies import body_cases
from .hostile_files import file_cases
from .hostile_sources import source_cases
from .hostile_texts import count_cases, text_cases, type_cases


def all_cases():
    """Every one, in the order of the tables."""
    for table in (file_cases, source_cases, text_cases, type_cases, body_cases, count_cases):
        yield from table()
