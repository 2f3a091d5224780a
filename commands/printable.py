"""Text from files and archives, made safe for a terminal."""

__all__ = ["printable"]


def printable(text: str) -> str:
    """The text without control characters: a file name must not steer the terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
