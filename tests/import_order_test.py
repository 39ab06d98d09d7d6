"""An import inside the package only points up this chain."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / 'alphajax'
CHAIN = (
  'lookup data language factor analysis networks search run methods'.split()
)
# Beside the chain, each may import what stands before it, and the chain.
TOP = 'judge configs cli report markets experiment ending evaluate'.split()
TOP += ['teacher', 'train']
TOP += [
  'apart',
  'parts',
  'refine',
  'variants',
  'sweep',
  'halves',
  'folds',
  'walks',
  'walk_forward',
]
TOP += ['refit', 'show_configs', 'score', 'export', 'assess', 'synthesize']
TOP += ['matrix', 'arena', 'referee']
ORDER = [*CHAIN, *TOP]


def imported(path):
  """Names below `alphajax` that a file imports, anywhere in it."""
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def part(path):
  return path.relative_to(ROOT).with_suffix('').parts[0]


FILES = [
  path
  for path in ROOT.rglob('*.py')
  if path.parent != ROOT or (path.name not in ('__init__.py', '__main__.py'))
]


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_up_the_chain(path):
  names = [name.split('.') for name in imported(path)]
  parts = [name[1] for name in names if name[0] == 'alphajax' and name[1:]]
  place = ORDER.index(part(path))
  below = [p for p in parts if ORDER.index(p) > place]
  assert not below, f'{path.name} imports {below}, further down the chain'
  assert part(path) != 'judge' or not {'networks', 'search', 'methods'} & {
    *parts
  }, f'{path.name}: the judge knows signals and panels, not methods'


def test_the_files_are_found():
  assert {part(path) for path in FILES} >= set(CHAIN)


@pytest.mark.parametrize('folder', ['factor', 'networks', 'search'])
def test_what_is_traced_asks_for_no_default_device(folder):
  """It may run on another; `jax.lax.platform_dependent` knows which."""
  for path in (ROOT / folder).rglob('*.py'):
    text = path.read_text(encoding='utf-8')
    assert 'default_backend' not in text, f'{path.name} asks for it'
