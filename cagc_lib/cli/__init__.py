"""The command line: `main` reads arguments, calls the library and prints; chapters 1, 8, 10, 13."""

from .cards import card, comparison
from .parser import main
