"""What a config names: by a short name of ours or by an import path."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar('T')


def resolve(name: str, short: Mapping[str, T | str], *, key: str) -> T | Any:
  """The object of a short name, or a module or attribute by its import path.

  Args:
    name: a key of `short`, or an import path such as `my_package.my_module` or
      `my_package.my_module.my_function`.
    short: what our own names stand for; a string is itself an import path, so
      that nothing is imported which is not used.
    key: of the config, for the error.

  Raises:
    ValueError: neither a short name nor something that can be found.
  """
  if name in short:
    value = short[name]
    return _find(value, key) if isinstance(value, str) else value
  if '.' in name:
    return _find(name, key)
  near = difflib.get_close_matches(name, short, n=1)
  hint = f'; did you mean {near[0]!r}?' if near else ''
  raise ValueError(
    f'{key} is {name!r}: expected one of {", ".join(short)}, or an import path '
    f'such as my_package.my_module{hint}'
  )


def _find(path: str, key: str) -> Any:
  """A module, or an attribute of one."""
  try:
    return importlib.import_module(path)
  except ModuleNotFoundError as error:
    # An import inside the module that fails is the module's own error.
    if not (error.name and (path + '.').startswith(error.name + '.')):
      raise
  package, _, attribute = path.rpartition('.')
  try:
    return getattr(importlib.import_module(package), attribute)
  except (ModuleNotFoundError, AttributeError) as error:
    raise ValueError(
      f'{key} is {path!r}: there is no such module or attribute on the path '
      'that Python imports from (PYTHONPATH)'
    ) from error
