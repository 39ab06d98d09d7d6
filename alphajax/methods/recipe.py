"""What a program is made of, by content, so that the same one is made once."""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alphajax.networks import heads


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


def made_once(*keys: str) -> Callable:
  """Of a `make(config, language)` of programs: equal ones are made once.

  A second run in one process, of another seed say, is then neither traced nor
  compiled anew.

  keys: of the config, all that `make` reads.
  """

  def decorate(make):
    @functools.lru_cache(maxsize=8)
    def kept(recipe: Recipe):
      options = ConfigDict(recipe.parts['options'])
      return make(options, recipe.parts['language'])

    @functools.wraps(make)
    def made(config, language):
      options = {key: config.to_dict()[key] for key in keys}
      encoder = options['network'].get('encoder')
      # A name may come to mean another module, of a notebook say.
      found = encoder and heads.find_encoder(encoder)
      return kept(Recipe(language=language, options=options, encoder=found))

    return made

  return decorate
