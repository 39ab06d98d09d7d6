"""Exported formulas: the operators of alphajax in other libraries."""

import ast
import re
import subprocess
import sys

import commands
import matplotlib.mathtext
import numpy as np
import oracle
import pandas as pd
import pytest
import score_test
import stream_test

from alphajax import export
from alphajax.analysis.exporting import agreement, latex, qlib, running, source
from alphajax.data import market
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.methods import linear
from alphajax.methods.base import Found

TARGETS = tuple(source.MODULES)
# Of float32; the fourth moment has the largest error.
CLOSE = dict(rtol=3e-6, atol=4e-6)


@pytest.fixture(scope='module')
def panel():
  return stream_test.panel_of(60)


@pytest.fixture(scope='module')
def formulas(panel):
  """One of every operator, and one of a number at its root, by name."""
  texts = [*stream_test.of_every_operator(), 'close', 'Mul(0.5,Sum(3,4))']
  found = stream_test.parsed(texts, panel)
  return {f'factor_{i}': formula for i, formula in enumerate(found)}


@pytest.fixture(scope='module')
def ours(panel, formulas):
  values = np.asarray(evaluate.values(list(formulas.values()), panel))
  return dict(zip(formulas, values, strict=True))


@pytest.mark.parametrize('target', TARGETS)
def test_every_operator_has_its_values(target, panel, formulas, ours):
  pytest.importorskip({'python': 'numpy'}.get(target, target))
  theirs = agreement.run_target(target)(formulas, panel)
  assert list(theirs) == list(formulas)
  for name, formula in formulas.items():
    values = theirs[name]
    assert values.dtype == np.float32
    np.testing.assert_allclose(
      values, ours[name], err_msg=str(formula), **CLOSE
    )


def with_more_digits(formulas, panel, target, folder):
  """The values of the exported file with `DTYPE` changed to float64."""
  text = source.write(formulas, target)
  (line,) = re.findall(r'^DTYPE = .*32.*$', text, re.MULTILINE)
  path = folder / f'wide_{target}.py'
  path.write_text(text.replace(line, line.replace('32', '64')))
  return running.values(path, panel, target)


@pytest.mark.parametrize('target', TARGETS)
def test_every_operator_against_the_oracle(target, panel, tmp_path):
  """Not through our own values: the definitions of the design, in float64."""
  pytest.importorskip({'python': 'numpy'}.get(target, target))
  texts = [
    text
    for window in (7, 1, 61)  # A usual one, one day, longer than the panel.
    for text in stream_test.of_every_operator(window)
    if window == 7 or f',{window})' in text
  ]
  found = stream_test.parsed(texts, panel)
  named = {f'factor_{i}': formula for i, formula in enumerate(found)}
  theirs = with_more_digits(named, panel, target, tmp_path)
  features = dict(zip(panel.feature_names, panel.features, strict=True))
  for name, formula in named.items():
    expected = oracle.evaluate(formula, features, panel.mask)
    if formula.symbol in ('Pow', 'SignedPower'):  # 1^NaN is 1 in NumPy.
      parts = [oracle.evaluate(a, features, panel.mask) for a in formula.args]
      expected = np.where(np.isnan(parts).any(0), np.nan, expected)
    np.testing.assert_allclose(
      theirs[name], expected, rtol=2e-6, atol=1e-6, err_msg=str(formula)
    )


def test_every_operator_has_an_entry_in_every_target():
  assert set(source.FUNCTIONS) == set(vocab.OPERATORS)
  for module in source.MODULES.values():
    assert set(source.FUNCTIONS.values()) <= set(source.definitions(module))
  assert set(latex.ROWS) == set(vocab.OPERATORS)
  panel = stream_test.panel_of(8)
  texts = list(stream_test.of_every_operator())
  found = stream_test.parsed(texts, panel)
  named = {formula.symbol: formula for formula in found}
  assert set(qlib.write(named)[1]) == set(qlib.ABSENT)


@pytest.mark.parametrize('target', TARGETS)
def test_the_file_stands_alone(target):
  formulas = {'one': formula_lib.parse('CSRank(Mean(close,5)/close)')}
  text = source.write(formulas, target, {'one': 0.5})
  tree = ast.parse(text)
  imported = {
    alias.name
    for node in ast.walk(tree)
    if isinstance(node, ast.Import | ast.ImportFrom)
    for alias in node.names
  }
  allowed = {'python': {'numpy'}, 'polars': {'polars'}}
  assert imported <= allowed.get(target, {'pandas', 'numpy', 'functools'})
  defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
  assert {'cs_rank', 'ts_mean', 'one', 'compute', 'signal'} <= defined
  assert not {'ts_corr', 'ts_kurt', 'group_rank', 'power', 'log'} & defined
  assert '"""CSRank(Mean(close,5)/close)"""' in text


def test_the_file_runs_without_alphajax(tmp_path):
  formulas = {'one': formula_lib.parse('Mean(close,2)-Ref(close,1)')}
  path = tmp_path / 'exported.py'
  path.write_text(source.write(formulas, 'python'))
  code = (
    'import sys, exported, numpy as np\n'
    'close = np.array([[1., 4.], [2., np.nan], [4., 8.]])\n'
    "data = {'close': close, 'members': np.ones((3, 2), bool)}\n"
    "print(exported.compute(data)['one'].tolist(), 'jax' in sys.modules)\n"
  )
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
    env={'PYTHONPATH': ''},
  )  # fmt: skip
  assert done.stdout.strip() == (
    '[[nan, nan], [0.5, nan], [1.0, nan]] False'
  ), done.stderr


@pytest.mark.parametrize('target', TARGETS)
def test_the_signal_of_a_pool(target, panel, tmp_path):
  pytest.importorskip({'python': 'numpy'}.get(target, target))
  texts = ('Mean(close,7)/close', 'Corr(close,volume,7)', '-CSRank(high-low)')
  found = tuple(stream_test.parsed(texts, panel))
  weights = (0.03, -0.01, 0.02)
  names = ('one', 'two', 'three')
  path = tmp_path / f'pool_{target}.py'
  path.write_text(
    source.write(
      dict(zip(names, found, strict=True)), target,
      dict(zip(names, weights, strict=True)),
    )
  )  # fmt: skip
  theirs = running.signal(path, panel, target)
  whole = np.array(linear.predict(Found(1, found, weights), panel))
  # The command's signal begins when the longest look-back is full.
  np.testing.assert_allclose(theirs[6:], whole[6:], rtol=1e-4, atol=1e-7)
  assert np.isfinite(theirs[6:]).any()


def test_polars_fills_the_days_that_a_stock_lacks():
  pl = pytest.importorskip('polars')
  from alphajax.analysis.exporting import polars_operators

  frame = pl.DataFrame(
    {
      'date': [3, 1, 1, 2],
      'symbol': ['a', 'a', 'b', 'b'],
      'close': [3.0, 1.0, float('nan'), 5.0],
    }
  )
  full = polars_operators.prepare(frame, ['close'])
  assert full['symbol'].to_list() == list('aaabbb')
  assert full['close'].to_list() == [1, None, 3, None, 5, None]
  delayed = full.select(polars_operators.delay(full, 'close', 1))
  assert delayed['close'].to_list() == [None, 1, None, None, None, 5]


def test_agreement_is_told_apart():
  rng = np.random.default_rng(0)
  ours = rng.normal(100, 1, (5, 8)).astype(np.float32)
  ours[0, 0] = np.nan
  assert agreement.compare(ours, ours.copy()).kind == agreement.EXACT
  near = ours * np.float32(1 + 1e-7)
  assert agreement.compare(ours, near).kind == agreement.CLOSE
  far = ours.copy()
  far[2, 3] += 1e-3 * ours[2].std()
  found = agreement.compare(ours, far)
  assert found.kind == agreement.DIFFERS
  assert found.cells == pytest.approx(1 / 39)
  assert found.alike == 1.0  # No rank is another.
  turned = ours.copy()
  turned[2:] = -ours[2:]
  # Two days of five alike, three reversed.
  assert agreement.compare(ours, turned).alike == pytest.approx(-1 / 5)
  lost = ours.copy()
  lost[1, 1] = np.nan
  assert agreement.compare(ours, lost).kind == agreement.DIFFERS


def test_where_values_part_is_found(panel):
  """A wrong Mean is named; what follows from it is not."""
  formula = formula_lib.parse('Abs(Mean(Ref(close,1),5))-close')

  def wrong(formulas, panel):
    right = agreement.run_target('python')(formulas, panel)
    return {
      name: right[name] + np.float32('Mean' in str(formulas[name]))
      for name in formulas
    }

  found = agreement.check({'one': formula}, panel, wrong)['one']
  assert found.why == 'Mean itself, in Mean(Ref(close,1),5)'


def test_rounding_is_told_from_definitions(panel):
  formula = formula_lib.parse('Sign(Mean(close,5)-Sum(close,5)/5)')
  found = agreement.check(
    {'one': formula}, panel, agreement.run_target('python')
  )['one']
  assert found.kind == agreement.DIFFERS
  assert 'itself' not in found.why


def test_latex_is_balanced_and_typeset(formulas):
  parser = matplotlib.mathtext.MathTextParser('path')
  for formula in formulas.values():
    text = latex.to_latex(formula)
    bare = re.sub(r'\\[{}]', '', text)
    assert bare.count('{') == bare.count('}'), text
    assert text.count(r'\left') == text.count(r'\right'), text
    assert '#' not in text
    if r'\begin' not in text:  # Which matplotlib cannot.
      parser.parse(f'${text}$')


def test_latex_keeps_the_meaning():
  def written(text):
    return latex.to_latex(formula_lib.parse(text))

  close, low = r'\mathrm{close}', r'\mathrm{low}'
  assert written('close-(close-low)') == (
    rf'{close} - \left({close} - {low}\right)'
  )
  assert written('close-close-low') == f'{close} - {close} - {low}'
  assert written('(close+low)*low') == (
    rf'\left({close} + {low}\right) \cdot {low}'
  )
  assert written('(close+low)/low') == rf'\frac{{{close} + {low}}}{{{low}}}'
  assert written('-close') == rf'\left(-1\right) \cdot {close}'
  assert written('Std(close,20)') == (
    rf'\operatorname{{Std}}_{{20}}\left({close}\right)'
  )


def test_a_latex_document_defines_what_occurs():
  formulas = {'a': formula_lib.parse('EMA(close,5)/Ref(close,2)')}
  text = latex.write(formulas, {'a': -0.25})
  assert text.count(r'\item') == 2
  assert r'a = 1 - \tfrac2{n+1}' in text and 'x_{t-n}' in text
  assert r's = -0.2500\,z(f_{1})' in text
  assert text.startswith(r'\documentclass') and r'\end{document}' in text


def test_qlib_writes_what_it_has_and_says_what_not():
  moments = [formula_lib.parse(f'{m}(close,7)') for m in ('Skew', 'Kurt')]
  formulas = {
    'a': formula_lib.parse('SignedPower(Delta(close,5),2)'),
    'skew': moments[0],
    'kurt': moments[1],
    'b': formula_lib.parse('CSRank(EMA(close,5))'),
  }
  text, absent = qlib.write(formulas)
  scope = {}
  exec(text, scope)
  again, skew, kurt = (
    formula_lib.parse(field, dialect='qlib') for field in scope['FIELDS']
  )
  assert formula_lib.to_text(again) == (
    'Sign(Delta(close,5))*Pow(Abs(Delta(close,5)),2)'
  )
  # Read again, the unbiased moments of qlib give ours.
  panel = stream_test.panel_of(60)
  for read, moment in zip((skew, kurt), moments, strict=True):
    values = evaluate.values([read, moment], panel)
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-5)
  assert scope['NAMES'] == ['a', 'skew', 'kurt']
  assert list(absent) == ['b']
  assert 'CSRank: expressions see one stock' in absent['b']
  assert 'EMA: its EMA is a mean over all days' in absent['b']
  assert '# b is left out' in text


def test_qlib_has_our_values_where_it_is_installed(panel):
  pytest.importorskip('qlib', reason='pip install pyqlib')
  texts = ['Std(close,7)/close', 'Skew(close,7)', 'Rank(Delta(volume,3),9)',
           'SignedPower(Delta(close,5),2)', 'Corr(high,volume,8)']  # fmt: skip
  formulas = {text: formula_lib.parse(text) for text in texts}
  for _ in range(2):  # It remembers what it read, but not of another panel.
    found = agreement.check(formulas, panel, agreement.run_target('qlib'))
    assert all(each.kind != agreement.DIFFERS for each in found.values()), found
    panel = panel.replace(features=panel.features * np.float32(1.5))


def test_a_run_is_exported_and_compared(tmp_path):
  frame = score_test.table_of(stream_test.panel_of(120)).assign(
    amount=lambda f: f['vwap'] * f['volume']
  )
  data = tmp_path / 'data.parquet'
  bars = ['open', 'high', 'low', 'close']
  frame = frame[['date', 'symbol', 'volume', 'amount', 'member', *bars]]
  frame = frame.dropna()
  frame['high'] = frame[bars].max(axis=1)
  frame['low'] = frame[bars].min(axis=1)
  frame.to_parquet(data)
  workdir = score_test.make_run(tmp_path / 'run', '')
  out = tmp_path / 'mine.py'
  done = commands.run(
    'alphajax.export', f'--workdir={workdir}', '--to=pandas', f'--out={out}',
    f'--data={data}', '--days=30', '--stocks=10',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert re.search(r'40 days x 10 stocks, .*: \d exact, \d within', done.stdout)
  assert 'factor_1: ' in done.stdout and '0 differs' in done.stdout
  assert 'WEIGHTS = {' in out.read_text()
  panel = market.load(data, cache=False)
  planes = {
    name: pd.DataFrame(plane)
    for name, plane in zip(panel.feature_names, panel.features, strict=True)
  }
  scope = {}
  exec(out.read_text(), scope)
  mean = scope['compute'](planes | {'members': pd.DataFrame(panel.mask)})
  expected = planes['close'].rolling(9).mean() / planes['close']
  np.testing.assert_allclose(mean['factor_1'], expected, rtol=1e-5)


def test_a_file_and_its_errors(tmp_path):
  file = tmp_path / 'pool.txt'
  file.write_text('# two\nMean(close,5)/close\nMean(turnover,5)\n')
  with pytest.raises(ValueError, match='line 3.*turnover'):
    export.of_file(str(file))
  factors = export.of_file(str(file), ['turnover'])
  assert list(factors.formulas) == ['factor_1', 'factor_2']
  with pytest.raises(ValueError, match='turnover, which the simulated market'):
    export.check_panel(factors.formulas, None, None, 10, 10)
  file.write_text('# nothing\n')
  with pytest.raises(ValueError, match='no formula in it'):
    export.of_file(str(file))
  with pytest.raises(ValueError, match='no such file'):
    export.of_file(str(tmp_path / 'none.txt'))
  with pytest.raises(ValueError, match="'a b' is not the name of a function"):
    source.write({'a b': formula_lib.parse('close')}, 'python')
  panel = export.check_panel(
    {'a': formula_lib.parse('Mean(close,5)')}, None, None, 10, 10
  )
  assert panel.mask.shape == (14, 10)
