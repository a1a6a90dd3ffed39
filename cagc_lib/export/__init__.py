"""Chapters 12 and 13: a network in another format, and the proof that it is the same network."""

from .convert import DRAWN, Conversion, Difference, convert
