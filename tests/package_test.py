"""The package: its public names, and a wheel that works without the sources."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import alphajax

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def python(*arguments, cwd, **env):
  """Runs Python; returns what it printed."""
  done = subprocess.run(
    [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd,
    env=os.environ | env,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.parametrize('name', alphajax.__all__)
def test_public_names_are_there(name):
  value = getattr(alphajax, name)
  assert name in dir(alphajax)
  assert name in ('__version__', 'library') or callable(value)


def test_an_unknown_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match="'alphajax' has no .* 'laod'"):
    _ = alphajax.laod


def test_import_brings_nothing_else():
  code = (
    'import sys; before = set(sys.modules); import alphajax; '
    'new = {n.partition(".")[0] for n in set(sys.modules) - before}; '
    'print(sorted(new - set(sys.stdlib_module_names)))'
  )
  assert python('-c', code, cwd=ROOT).strip() == "['alphajax']"


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """A wheel of a copy of the sources, which stay as they are."""
  folder = tmp_path_factory.mktemp('wheel')
  sources = folder / 'sources'
  skip = shutil.ignore_patterns('__pycache__')
  for name in ('alphajax', 'configs'):
    shutil.copytree(ROOT / name, sources / name, symlinks=True, ignore=skip)
  for name in ('pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / name, sources)
  python(
    '-m', 'pip', 'wheel', '--quiet', '--disable-pip-version-check', '--no-deps',
    '--no-build-isolation', '--wheel-dir', str(folder), str(sources), cwd=folder
  )  # fmt: skip
  (path,) = folder.glob('*.whl')
  return path


def test_the_wheel_has_every_file(wheel):
  with zipfile.ZipFile(wheel) as archive:
    inside = {x for x in archive.namelist() if x.startswith('alphajax/')}
  sources = [
    *(ROOT / 'alphajax').rglob('*'), *(ROOT / 'alphajax/configs').glob('*.py')
  ]  # fmt: skip
  expected = {
    str(path.relative_to(ROOT))
    for path in sources
    if path.suffix in ('.py', '.csv', '.html', '.npz', '.json')
  }
  assert inside == expected
  assert {
    'alphajax/configs/quickstart.py',
    'alphajax/language/alpha101.csv',
    'alphajax/pretrained/alphaformer.npz',
    'alphajax/report/template.html',
  } <= inside


def test_the_wheel_runs_from_any_folder(wheel, tmp_path):
  site = tmp_path / 'site'
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(site)
  where = {'cwd': tmp_path, 'PYTHONPATH': str(site)}
  code = 'import alphajax; print(alphajax.__file__, alphajax.__version__)'
  file, version = python('-c', code, **where).split()
  assert Path(file) == site / 'alphajax' / '__init__.py'
  (info,) = site.glob('alphajax-*.dist-info')
  assert info.name == f'alphajax-{version}.dist-info'
  scripts = (info / 'entry_points.txt').read_text()
  assert 'alphajax = alphajax.cli:main' in scripts
  listed = python('-m', 'alphajax', 'configs', **where)
  assert re.search(r'^quickstart\.py +\S', listed, re.MULTILINE)
  code = (
    'from alphajax.language import library; '
    "print(len(library.load('alpha101')), len(library.load('gtja191')))"
  )
  counts = [int(n) for n in python('-c', code, **where).split()]
  assert min(counts) >= 76
  described = python('-m', 'alphajax', 'configs', 'quickstart', **where)
  assert '--config.pool.capacity=10\n' in described


def test_pins_are_of_what_the_package_needs():
  pins = dict(
    re.findall(r'^([\w.-]+)==(\S+)', (ROOT / 'requirements.txt').read_text(),
               re.MULTILINE)
  )  # fmt: skip
  for need in (
    *PROJECT['dependencies'],
    *PROJECT['optional-dependencies']['dev'],
  ):
    name, _, oldest = need.partition('>=')
    assert _parts(pins[name]) >= _parts(oldest), need


def _parts(version):
  return tuple(int(part) for part in version.split('.'))


def test_extras():
  assert {'gpu', 'tpu', 'gbdt', 'tensorboard', 'dev'} <= {
    *PROJECT['optional-dependencies']
  }
