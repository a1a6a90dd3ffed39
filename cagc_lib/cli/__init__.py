"""The command line: `main` reads arguments, calls the library and prints; chapters 1, 8, 9, 12."""

from .parser import main

__all__ = [
    "main",
]
