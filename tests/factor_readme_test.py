"""The room's README: every operator is in it, and its example runs."""

import re
from pathlib import Path

import numpy as np
import tiny

from alphajax import markets
from alphajax.analysis import words
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, operators
from alphajax.language import environment, vocab
from alphajax.language import formula as formula_lib

TEXT = (Path(evaluate.__file__).parent / 'README.md').read_text()


def test_tables_list_every_operator_with_its_arguments():
  listed = {}
  for line in TEXT.splitlines():
    if line.startswith('| `'):
      calls = re.findall(r'`(\w+)\(([\w,]+)\)`', line.split('|')[1])
      listed |= {name: arguments.split(',') for name, arguments in calls}
  assert listed.keys() == vocab.OPERATORS.keys()
  for name, arguments in listed.items():
    row = vocab.OPERATORS[name]
    assert len(arguments) == row.arity, name
    assert (arguments[-1] == 't') == (row.kind in vocab.WINDOWED), name
  paper = re.findall(r'`([A-Z]\w+)\(', TEXT.split('## Beyond')[0])
  assert set(paper) == set(vocab.PAPER_OPERATORS)


def test_the_example_runs(monkeypatch):
  monkeypatch.setattr(vocab, 'OPERATORS', dict(vocab.OPERATORS))
  monkeypatch.setattr(operators, 'FUNCTIONS', dict(operators.FUNCTIONS))
  (code,) = re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL)
  exec(compile(code, 'README.md', 'exec'), {})
  formula = formula_lib.parse('Growth(close,20)')
  assert (
    words.reading(formula) == 'the growth over 20 days of the closing price'
  )
  assert formula_lib.lookback(formula) == 20
  language = environment.make('typed_k', operators=('Growth', 'Abs'))
  assert environment.derivation(language, formula)
  panel = markets.simulated(tiny.get_config('random_search')).panel
  close = np.asarray(panel_lib.feature(panel, 'close'), float)
  (values,) = evaluate.values([formula], panel)
  expected = close[20:] / close[:-20] - 1
  np.testing.assert_allclose(values[20:], expected, rtol=1e-3, atol=1e-5)


def test_the_config_lines_are_a_language():
  options = dict(re.findall(r'--config\.language\.(\w+)="(.*)"', TEXT))
  assert options.keys() == {'features', 'constants', 'operators'}
  options = {name: eval(value, {}) for name, value in options.items()}
  language = environment.make('sem_k', **options)
  formula = 'If(Gt(close,Quantile(close,0.8,20)),GroupRank(open,industry),0.2)'
  parsed = formula_lib.parse(formula, options['features'])
  assert environment.derivation(language, parsed)
