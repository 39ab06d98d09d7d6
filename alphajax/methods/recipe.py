"""What a program is made of, by content, so that the same one is made once."""

from collections.abc import Hashable
from typing import Any

import jax
import numpy as np


class Recipe:
  """Small tables and options that equal others of the same content.

  A program closed over them can be kept under them (`functools.lru_cache`): a
  fold or a second run in one process is then neither traced nor compiled anew.
  Data are no part of it: they are the program's arguments.
  """

  def __init__(self, **parts: Any):
    """parts: pytrees of arrays, numbers, texts and functions."""
    self.parts = parts
    leaves, structure = jax.tree.flatten(parts)
    self._content = structure, tuple(map(_content, leaves))

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Recipe) and self._content == other._content

  def __hash__(self) -> int:
    return hash(self._content)


def _content(leaf: Any) -> Hashable:
  """What tells a leaf from others; an object that may change, its identity."""
  if isinstance(leaf, jax.Array | np.ndarray):
    leaf = np.asarray(leaf)
    return leaf.dtype.str, leaf.shape, leaf.tobytes()
  # 1, 1.0 and True are equal, and make other programs.
  return type(leaf), leaf if isinstance(leaf, Hashable) else id(leaf)
