"""Short names and import paths of a config."""

import math

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
    ('os.path', __import__('os').path),
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
