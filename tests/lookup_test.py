"""Short names and import paths of a config."""

import math
import os.path

import pytest

from alphajax import lookup

SHORT = {'root': math.sqrt, 'maths': 'math', 'sine': 'math.sin'}


@pytest.mark.parametrize(
  'name, expected',
  [
    ('root', math.sqrt),
    ('maths', math),
    ('sine', math.sin),
    ('math.cos', math.cos),
    ('os.path', os.path),
  ],
)
def test_finds(name, expected):
  assert lookup.resolve(name, SHORT, key='config.x') is expected


@pytest.mark.parametrize(
  'name, message',
  [
    ('rot', "config.x is 'rot': expected one of root, maths, sine.*'root'"),
    ('no_package.thing', "config.x is 'no_package.thing': there is no such"),
    ('math.sinus', 'no such module or attribute'),
  ],
)
def test_refuses(name, message):
  with pytest.raises(ValueError, match=message):
    lookup.resolve(name, SHORT, key='config.x')


def test_an_error_inside_a_module_is_shown(tmp_path, monkeypatch):
  (tmp_path / 'my_package').mkdir()
  (tmp_path / 'my_package' / 'broken.py').write_text('import no_such_package\n')
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ModuleNotFoundError, match='no_such_package'):
    lookup.resolve('my_package.broken', SHORT, key='config.x')


def test_a_module_must_have_what_is_needed():
  find = {'short': SHORT, 'key': 'config.x'}
  found = lookup.resolve('os.path', needs=('join(a, b)', 'split(a)'), **find)
  assert found is os.path
  message = "config.x is 'os.path': that module has no make, and needs .*a, b"
  with pytest.raises(ValueError, match=message):
    lookup.resolve('os.path', needs=('join(a)', 'make(a, b)'), **find)
  # What is no module is taken as it is.
  assert lookup.resolve('math.cos', needs=('make(a)',), **find) is math.cos


def test_a_function_by_its_path_or_by_that_of_its_module():
  find = {'short': SHORT, 'key': 'config.x', 'signature': 'join(a, b)'}
  assert lookup.function('os.path', **find) is os.path.join
  assert lookup.function('os.path.split', **find) is os.path.split
  assert lookup.function('root', **find) is math.sqrt
  with pytest.raises(ValueError, match=r'math.pi.*called.*with join\(a, b\)'):
    lookup.function('math.pi', **find)
  with pytest.raises(ValueError, match='that module has no join'):
    lookup.function('json.decoder', **find)
