r"""Lists the configs, or every key of one with its value and meaning.

alphajax configs
alphajax configs alphacfg.py:csi300
"""

import ast
import importlib.util
import io
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path

from alphajax import cli
from alphajax.run import config as config_lib


def define_flags() -> None:
  """The command has no flags."""


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv[1:])
  print(describe(argv[1]) if len(argv) > 1 else listing())


def listing() -> str:
  """The configs that alphajax brings, with the first line of each."""
  rows = []
  for path in sorted(cli.CONFIGS.glob('*.py')):
    if path.stem not in ('__init__', 'common'):
      doc = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
      rows.append((path.name, (doc or '').splitlines()[0]))
  width = max(len(name) for name, _ in rows)
  return '\n'.join(f'{name:{width}}  {line}' for name, line in rows)


def describe(name: str) -> str:
  """Every key of a config: value, and what the files of configs say of it.

  Raises:
    ValueError: no such config or variant.
  """
  path, _, variant = cli.find_config(name).partition(':')
  spec = importlib.util.spec_from_file_location('shown_config', path)
  if spec is None or spec.loader is None:
    raise ValueError(f'{path}: not a Python file, which a config is')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config(*([variant] if variant else []))
  known = meanings([*sorted(cli.CONFIGS.glob('*.py')), Path(path)])
  lines = [(module.__doc__ or '').strip(), '']
  for key, value in config_lib.flatten(config.to_dict()).items():
    meaning = meaning_of(key, known)
    lines.append(f'--config.{key}={value!r}')
    lines.append(f'    {meaning}')
  return '\n'.join(lines)


def meaning_of(key: str, known: Mapping[str, str]) -> str:
  """The meaning of a key, or of the group that it is in; '' for neither."""
  while key and key not in known:
    key = key.rpartition('.')[0]
  return known.get(key, '')


def meanings(paths: Sequence[Path]) -> dict[str, str]:
  """What the comments of config files say of the keys that they set.

  That is a comment behind an assignment, and the lines of comment right above
  it. `config.pool.l1 = 0.005  # Weight of ...` gives `pool.l1`.
  """
  found: dict[str, str] = {}
  for path in paths:
    text = path.read_text(encoding='utf-8')
    comments = _comments(text)
    code = {n for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Assign)
            for n in _lines(node)}  # fmt: skip
    for node in ast.walk(ast.parse(text)):
      if isinstance(node, ast.Assign):
        key = ast.unparse(node.targets[0])
        said = _said(node, comments, code)
        if key.startswith('config.') and said:
          found.setdefault(key.removeprefix('config.'), said)
  return found


def _comments(text: str) -> dict[int, str]:
  """Comments by line."""
  tokens = tokenize.generate_tokens(io.StringIO(text).readline)
  return {
    token.start[0]: token.string.lstrip('# ')
    for token in tokens
    if token.type == tokenize.COMMENT
  }


def _lines(node: ast.Assign) -> range:
  """The lines of an assignment."""
  return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _said(node: ast.Assign, comments: Mapping[int, str], code: set[int]) -> str:
  """The comments of one assignment in the order in which they stand."""
  first = node.lineno
  while first - 1 in comments and first - 1 not in code:
    first -= 1
  lines = range(first, _lines(node).stop)
  words = [comments[n] for n in lines if n in comments]
  return ' '.join(word for word in words if not word.startswith('fmt:'))


if __name__ == '__main__':
  cli.run('alphajax.show_configs')
