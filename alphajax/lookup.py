"""What a config names: by a short name of ours or by an import path."""

import difflib
import importlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar('T')


def resolve(
  name: str,
  short: Mapping[str, T | str],
  *,
  key: str,
  needs: Sequence[str] = (),
) -> T | Any:
  """The object of a short name, or a module or attribute by its import path.

  Args:
    name: a key of `short`, or an import path such as `my_package.my_module` or
      `my_package.my_module.my_function`.
    short: what our own names stand for; a string is itself an import path, so
      that nothing is imported which is not used.
    key: of the config, for the error.
    needs: what a module must have, such as `make(config, market)`; the words
      up to the parenthesis are looked for, the rest is for the error.

  Raises:
    ValueError: neither a short name nor something that can be found, or a
      module that lacks what it needs.
  """
  if name in short:
    value = short[name]
    return _find(value, key) if isinstance(value, str) else value
  if '.' in name:
    return _checked(_find(name, key), name, key, needs)
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


def _checked(found: Any, name: str, key: str, needs: Sequence[str]) -> Any:
  """What was found, unless it is a module that lacks something."""
  if not isinstance(found, types.ModuleType):
    return found
  for what in needs:
    if not hasattr(found, what.partition('(')[0]):
      raise ValueError(
        f'{key} is {name!r}: that module has no {what.partition("(")[0]}, and '
        f'needs {" and ".join(needs)}'
      )
  return found


def function(
  name: str,
  short: Mapping[str, Callable | str],
  signature: str,
  *,
  key: str,
) -> Callable:
  """The function of a short name or an import path; of a module, its own.

  signature: such as `make(language, width)`: a path may lead to a module that
    has it, or to any function that is called so.

  Raises:
    ValueError: as `resolve`, or something that cannot be called.
  """
  found = resolve(name, short, key=key, needs=(signature,))
  if isinstance(found, types.ModuleType):
    found = getattr(found, signature.partition('(')[0])
  if not callable(found):
    raise ValueError(
      f'{key} is {name!r}, which cannot be called: expected a module with '
      f'{signature}, or such a function'
    )
  return found
