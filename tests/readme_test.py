"""What the READMEs show works."""

import functools
import importlib
import re
from pathlib import Path

import pytest
import tiny

from alphajax import evaluate, train
from alphajax.report import page
from alphajax.run import config as config_lib
from alphajax.run import folder

ROOT = Path(__file__).parent.parent
FILES = {
  str(path.relative_to(ROOT)): path.read_text()
  for path in (
    ROOT / 'README.md',
    *(ROOT / 'alphajax').glob('*/README.md'),
    *(ROOT / name / 'README.md' for name in ('configs', 'scripts')),
  )
}
BLOCKS = {
  name: re.findall(r'```python\n(.*?)```', text, re.DOTALL)
  for name, text in FILES.items()
}
# What each snippet ends with saying, by file.
SAID = {
  'README.md': ['Interval(mean='],
  'alphajax/judge/README.md': ['money 0.'],
  'alphajax/language/README.md': [
    'If(Gt(close,Ref(close,1)),volume,0)\n-rank(correlation(open,adv20,10))\n',
    'volume\nFalse\n',
  ],
}
METHOD = 'alphajax/methods/README.md'  # Its snippet is a module.


def test_no_snippet_is_left_out():
  counts = {name: len(blocks) for name, blocks in BLOCKS.items() if blocks}
  for name in (*SAID, METHOD):
    assert counts.pop(name) == len(SAID.get(name, ['a module']))
  # Those of other rooms have tests of their own beside what they show.
  assert set(counts) <= {'alphajax/factor/README.md'}


@pytest.mark.parametrize('name', SAID)
def test_snippets_run(name, capsys):
  for block, said in zip(BLOCKS[name], SAID[name], strict=True):
    exec(compile(block, name, 'exec'), {})
    assert said in capsys.readouterr().out


def test_the_method_is_trained_resumed_reported_and_evaluated(
  tmp_path, monkeypatch
):
  (tmp_path / 'my_methods').mkdir()
  (tmp_path / 'my_methods' / 'volume.py').write_text(BLOCKS[METHOD][0])
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  config = tiny.get_config('random_search')
  config.method = 'my_methods.volume'
  run = functools.partial(train.train, workdir=tmp_path / 'run')
  config.num_iterations = 4
  run(config)
  config.num_iterations = 8  # It goes on.
  trained = run(config)
  assert trained.state['iteration'] == 8
  results = evaluate.evaluate(tmp_path / 'run')
  assert results['factors'] == [] and results['test']['coverage'] > 0.9
  found = folder.load_run(tmp_path / 'run')
  assert found.pool['pool']['train']['ic']['mean'] == pytest.approx(
    trained.state['best'], abs=1e-6
  )
  assert 'IC' in page.write_report(tmp_path / 'run').read_text()


@pytest.mark.parametrize('name', FILES)
def test_named_files_exist(name):
  text = FILES[name]
  named = set(re.findall(r'\b(?:scripts|configs|tests)/[\w./]*\w', text))
  links = re.findall(r'\]\((?!http)([^)]+)\)', text)
  missing = {each for each in named if not (ROOT / each).exists()}
  for link in links:
    place, _, anchor = link.partition('#')
    path = (ROOT / name).parent / place if place else ROOT / name
    if not path.exists() or (anchor and anchor not in _anchors(path)):
      missing.add(link)
  assert not missing


def _anchors(path):
  """What a link may name in a Markdown file."""
  headings = re.findall(r'(?m)^#+ (.*)$', path.read_text(encoding='utf-8'))
  plain = (re.sub(r'[^\w -]', '', each.lower()) for each in headings)
  return {each.replace(' ', '-') for each in plain}


@pytest.mark.parametrize('name', FILES)
def test_named_options_exist(name):
  known = _known_keys()
  for key in set(re.findall(r'--config\.([a-z_0-9.]+[a-z0-9])', FILES[name])):
    assert key in known, f'--config.{key}'


@functools.cache
def _known_keys():
  """Keys of any config, and the sections that they are in."""
  names = [path.stem for path in (ROOT / 'configs').glob('[a-z]*.py')]
  known, more = set(), ['alphaformer:csi300,pretrain', 'alphacfg:csi300,prior']
  for name in [*names, *more]:
    name, _, variant = name.partition(':')
    module = importlib.import_module(f'alphajax.configs.{name}')
    config = module.get_config(*[variant] * bool(variant))
    for key in config_lib.flatten(config.to_dict()):
      parts = key.split('.')
      known |= {'.'.join(parts[: n + 1]) for n in range(len(parts))}
  return known


def test_the_first_page_is_short():
  assert len(FILES['README.md'].splitlines()) <= 150
