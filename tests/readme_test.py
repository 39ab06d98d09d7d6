"""What the README shows works."""

import re
from pathlib import Path

import pytest

from configs import alphacfg

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


def test_there_is_a_snippet():
  assert BLOCKS


@pytest.mark.parametrize('code', BLOCKS)
def test_snippets_run(code, capsys):
  exec(compile(code, 'README.md', 'exec'), {})
  assert 'Interval(mean=' in capsys.readouterr().out


def test_named_files_exist():
  named = set(re.findall(r'\b(?:scripts|configs|tests)/[\w./]*\w', README))
  assert {'scripts/quickstart.sh', 'configs/alphacfg.py'} <= named
  missing = {name for name in named if not (ROOT / name).exists()}
  assert not missing


def test_named_options_exist():
  config = alphacfg.get_config()
  for key in set(re.findall(r'--config\.([a-z_.]+[a-z])', README)):
    node = config
    for part in key.split('.'):
      assert part in node, f'--config.{key}'
      node = node[part]
