"""Content-aware GAN compression: a StyleGAN2 generator made smaller where nobody looks.

The files of this package, in the order of `tests/test_architecture.py`, are the road of the book:
operators, generator, content masks, channel importance, pruning, distillation, measures.
"""

from .generator import Generator, GeneratorConfig

__all__ = ["Generator", "GeneratorConfig"]
