"""Chapters 13 and 14: a network in another format, and the proof that it is the same network."""

from .convert import convert
from .parity import DRAWN, Conversion, Difference
