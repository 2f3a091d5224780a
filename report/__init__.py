"""What a call found, as one HTML file to look at and to pass on."""

from .html import write_report

__all__ = ["write_report"]
