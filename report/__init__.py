"""What a call found, as one HTML file to look at and to pass on."""

from .comparison import Column, write_comparison
from .html import write_report

__all__ = ["Column", "write_comparison", "write_report"]
