"""Text of unknown origin, fit for a terminal."""


def printable(text: str) -> str:
    """`text` with every sign that is not printed (escapes, line ends, marks of direction) written as its code."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
