"""What the README shows works."""

import re
from pathlib import Path

import pytest

from alphajax.configs import alphacfg

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', README, re.DOTALL)


# What each snippet ends with saying, in the README's order.
SAID = ('volume\nFalse\n', 'Interval(mean=')


def test_no_snippet_is_left_out():
  assert len(BLOCKS) == len(SAID)


@pytest.mark.parametrize('index', range(len(SAID)))
def test_snippets_run(index, capsys):
  exec(compile(BLOCKS[index], 'README.md', 'exec'), {})
  assert SAID[index] in capsys.readouterr().out


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
