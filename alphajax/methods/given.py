"""Formulas that a run begins with: the user's own, and those of another run.

`config.pool.base` are factors that stay in the pool: what is mined is what adds
to them. `config.archive` is where an earlier run stopped, of any method, or
names published libraries: its formulas are evaluated on this market first, and
what is found is added to them.
Files of a formula a line are in the notation `config.dialect`; runs and what a
config holds itself are in ours.
"""

import functools
import json
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from alphajax.data import panel as panel_lib
from alphajax.language import dialects, formula_files, library
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import registry
from alphajax.run import checkpoint, files

T = TypeVar('T')


class Given(NamedTuple):
  """Distinct formulas in the order in which they are evaluated.

  base: those that stay in the pool.
  archive: others.
  """

  base: tuple[Formula, ...] = ()
  archive: tuple[Formula, ...] = ()


def read(config, features: Sequence[str]) -> Given:
  """The formulas that the config names.

  Raises:
    ValueError: a file that cannot be read, or lines that are no formula; names
      each. Without `config.strict` such lines are left out, and told of.
  """
  base_path, archive_path = (
    config.pool.get('base', ''),
    config.get('archive', ''),
  )
  seen: set[str] = set()
  parts = []
  for key, path in (('pool.base', base_path), ('archive', archive_path)):
    part = {}
    texts = in_ours(config, path, f'config.{key}')
    parse = functools.partial(formula_lib.parse, features=features)
    for _, formula in _each(config, texts, parse):
      if formula_lib.key(formula) not in seen:
        part[formula_lib.key(formula)] = formula
        seen.add(formula_lib.key(formula))
    parts.append(tuple(part.values()))
  return Given(*parts)


def lines(path: str, key: str) -> list[tuple[str, str]]:
  """The formulas of a file as text, each with where it stands.

  path: a text file of a formula a line, blank lines and those that begin with #
    left out, or that text; a `pool.json`; or the folder of a run, of which all
    formulas that it evaluated are taken.
  key: that of the config, for messages.

  Raises:
    ValueError: there is no such file, or there is none of these in it.
  """
  if '\n' in path:
    return _lines(key, path)
  place = Path(path).expanduser()
  if place.is_dir():
    host = checkpoint.read_host(place / 'checkpoints')
    if host is None or 'book' not in host:
      raise ValueError(
        f'{key} is {path}, a folder without the formulas of a run: name one '
        'that `alphajax train` wrote, a pool.json, or a file of a formula a '
        'line'
      )
    return [
      (f'{path}, formula {i}', k) for i, (k, _) in enumerate(host['book'], 1)
    ]
  if not place.is_file():
    raise ValueError(f'{key} is {path}: there is no such file or folder')
  text = place.read_text(encoding='utf-8')
  if place.suffix == '.json':
    try:
      factors = json.loads(text)['factors']
      return [
        (f'{path}, factor {i}', factor['formula'])
        for i, factor in enumerate(factors, 1)
      ]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
      raise ValueError(
        f'{key} is {path}: expected a pool.json with "factors" of which each '
        'has a "formula"'
      ) from error
  return _lines(path, text)


def _lines(name: str, text: str) -> list[tuple[str, str]]:
  return [
    (f'{name}, line {i}', line.strip())
    for i, line in enumerate(text.splitlines(), 1)
    if line.strip() and not line.lstrip().startswith('#')
  ]


def _each(
  config, found: Sequence[tuple[str, str]], read: Callable[[str], T]
) -> list[tuple[str, T]]:
  """What `read` makes of each text; all that it refuses are named at once."""
  kept, refused = [], []
  for where, text in found:
    try:
      kept.append((where, read(text)))
    except ValueError as error:
      refused.append(f'{where}: {error}')
  told = '\n'.join(refused)
  if refused and config.get('strict', True):
    raise ValueError(f'{told}\n--config.strict=False leaves such lines out')
  if refused:
    warnings.warn(f'{len(refused)} lines are left out\n{told}', stacklevel=2)
  return kept


def in_ours(config, path: str, key: str) -> list[tuple[str, str]]:
  """`lines` in our notation, of a path or of nothing.

  Raises:
    ValueError: as `lines`; no such dialect, or lines that are no formula of it.
  """
  if named := libraries(path):
    return _published(config, named)
  found = lines(path, key) if path else []
  place = Path(path).expanduser() if '\n' not in path else None
  if not place or not place.is_file() or place.suffix == '.json':
    return found
  dialect = config.get('dialect', formula_lib.OURS)
  if dialect not in dialects.NAMES:
    raise ValueError(
      f'config.dialect is {dialect!r}: expected one of '
      f'{", ".join(dialects.NAMES)}'
    )
  if dialect != formula_lib.OURS:
    return _translated(config, found, dialect)

  def check(text: str) -> str:
    formula_files.check_notation(text, dialect, '--config.dialect')
    return text

  return _each(config, found, check)


def libraries(path: str) -> list[str]:
  """The published libraries that a key names, joined by commas; else none.

  What of them reads columns that `config.language.features` does not name is no
  part of them, see `library.left_out`.
  """
  names = path.split(',') if path else []
  return names if set(names) <= set(library.LIBRARIES) else []


def _published(config, names: Sequence[str]) -> list[tuple[str, str]]:
  more = config.get('language', {}).get('features', ())
  features = (*panel_lib.FEATURES, *more)
  return [
    (f'{name} {number}', text)
    for name in names
    for number, text in library.load(name, features=features).items()
  ]


def _translated(config, found, dialect: str) -> list[tuple[str, str]]:
  """Texts in our notation; `$x` is a column, whichever."""
  marked = [n for _, text in found for n in re.findall(r'\$(\w+)', text)]
  features = (
    *panel_lib.FEATURES,
    *config.get('language', {}).get('features', ()),
    *marked,
  )
  features = tuple(dict.fromkeys(features))

  def ours(text: str) -> str:
    formula = formula_lib.parse(text, features, dialect=dialect)
    return formula_lib.to_text(formula)

  return _each(config, found, ours)


def as_text(config) -> str:
  """The base as the config holds it, whatever becomes of the file."""
  base = in_ours(config, config.pool.get('base', ''), 'config.pool.base')
  if not config.get('strict', True):  # What is held has no bad line any more.
    good = dict(_each(config, base, formula_lib.unchecked))
    base = [(where, text) for where, text in base if where in good]
  return ''.join(f'{text}\n' for _, text in base)


def base_formulas(config) -> list[Formula]:
  """The base as it is written, its names unchecked: for what must be loaded."""
  path = config.get('pool', {}).get('base', '')
  if not path:
    return []
  texts = in_ours(config, path, 'config.pool.base')
  return [f for _, f in _each(config, texts, formula_lib.unchecked)]


def columns(config) -> tuple[str, ...]:
  """Columns of the data that the base reads and that are no usual features."""
  names = {
    node.symbol.removeprefix('$')
    for formula in base_formulas(config)
    for node in formula_lib.nodes(formula)
    if not node.args and not formula_lib.is_number(node)
  }
  return tuple(sorted(names - set(panel_lib.FEATURES)))


def lookback(config) -> int:
  """Bars that the base and published libraries need before the first score.

  Of another run those of its language are enough, see `check_warmup`.
  """
  named = _published(config, libraries(config.get('archive', '')))
  formulas = [
    *base_formulas(config), *(formula_lib.unchecked(text) for _, text in named),
  ]  # fmt: skip
  return max(map(formula_lib.lookback, formulas), default=0)


def check_warmup(given: Given, warmup: int) -> None:
  """Refuses formulas without a value on the first scored days.

  warmup: bars of the train split before its first scored one.

  Raises:
    ValueError: names the longest-looking one, and what to type.
  """
  for key, formulas in (('pool.base', given.base), ('archive', given.archive)):
    longest = max(formulas, key=formula_lib.lookback, default=None)
    if longest is None or formula_lib.lookback(longest) <= warmup:
      continue
    needed = formula_lib.lookback(longest)
    raise ValueError(
      f'config.{key} has {formula_lib.to_text(longest)}, which looks back '
      f'{needed} bars, and the warm-up is {warmup}: on the first days that are '
      f'scored it would say nothing. Set --config.lookback={needed}'
    )


def without_effect(config) -> list[str]:
  """Formulas that are given in vain, a line each key, of methods of ours."""
  if config.method not in registry.MINE_NOTHING:
    return []
  keys = {'archive': config.get('archive', '')}
  keys['pool.base'] = config.get('pool', {}).get('base', '')
  return [
    f'config.{key} changes nothing of {config.method}, which mines no formulas '
    'to add to it'
    for key, path in keys.items()
    if path
  ]


def seen_later(config) -> list[str]:
  """What is said of an archive that was found on days of the test split."""
  path = config.get('archive', '')
  made = None
  if path and '\n' not in path and not libraries(path):
    place = Path(path).expanduser()
    folder = place if place.is_dir() else place.parent
    made = files.read_json(folder / 'config.json')
  splits = (made or {}).get('splits', {})
  days = [splits[name][1] for name in ('train', 'valid') if name in splits]
  last = config.splits.valid[1]
  if not days or max(days) <= last:
    return []
  return [
    f'config.archive = {path}: its formulas were found on days until '
    f'{max(days)}, and config.splits.valid ends {last}: days between are not '
    'unseen by what is found with them'
  ]
