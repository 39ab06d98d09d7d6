"""Gradients through a compiled formula, against differences of the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, operators
from alphajax.language import formula as formula_lib
from alphajax.language import vocab

T, S, WINDOW = 20, 6, 4
PLAIN = [  # Those whose operands are all values.
  name
  for name, row in vocab.OPERATORS.items()
  if set(vocab.SLOTS[row.kind]) <= {'value', 'window'}
]


def make_panel():
  """Positive numbers with gaps, a late start and a stretch of equal values."""
  rng = np.random.default_rng(0)
  features = rng.uniform(0.5, 3.0, (6, T, S)).astype(np.float32)
  features[rng.random(features.shape) < 0.02] = np.nan
  features[:, :6, 0] = np.nan
  features[3, 8:14, 1] = 2.0  # Close: the spread of a window is 0.
  mask = rng.random((T, S)) < 0.9
  first = np.datetime64('2020-01-01')
  days = [str(first + np.timedelta64(t, 'D')) for t in range(T)]
  return panel_lib.make(features, mask, days, 'abcdef')


def gradient_of(formula, panel, weights):
  """By the close, of the weighted sum of what the formula has a value for."""
  run = evaluate.compile(formula)
  place = panel.feature_names.index('close')

  def total(close):
    features = jnp.asarray(panel.features).at[place].set(close)
    values = run(panel.replace(features=features))
    known = jnp.isfinite(values)
    return jnp.sum(jnp.where(known, values, 0.0) * weights)

  return np.asarray(jax.jit(jax.grad(total))(panel.features[place]))


def slope_of(formula, panel, weights, cell):
  """The same for one cell, by central differences in float64."""
  features = dict(
    zip(panel.feature_names, panel.features.astype(np.float64), strict=True)
  )
  sums = []
  for step in (1e-6, -1e-6):
    close = features['close'].copy()
    close[cell] += step
    values = oracle.evaluate(
      formula, features | {'close': close}, np.asarray(panel.mask)
    )
    sums.append(np.nansum(values * weights))
  return (sums[0] - sums[1]) / 2e-6


@pytest.mark.parametrize('name', PLAIN)
def test_gradients_of_each_operator(name):
  panel = make_panel()
  slots = vocab.SLOTS[vocab.OPERATORS[name].kind]
  inner = formula_lib.parse('close*open'), formula_lib.parse('close+vwap')
  operands = inner[: slots.count('value')]
  if 'window' in slots:
    operands = (*operands, formula_lib.number(WINDOW))
  formula = formula_lib.Formula(name, operands)
  weights = np.random.default_rng(1).normal(size=(T, S))
  gradient = gradient_of(formula, panel, weights)
  assert np.isfinite(gradient).all()
  close = np.asarray(panel.features[3])
  assert (gradient[np.isnan(close)] == 0).all()
  if name == 'Med':  # It only orders, as integers.
    assert not gradient.any()
    return
  cells = [(t, s) for t in range(1, T, 3) for s in range(S)]
  for cell in cells:
    if np.isfinite(close[cell]):
      slope = slope_of(formula, panel, weights, cell)
      assert gradient[cell] == pytest.approx(slope, rel=2e-3, abs=2e-3), cell


@pytest.mark.parametrize(
  'name', ['Std', 'Var', 'Mad', 'Skew', 'Kurt', 'Mean', 'Max', 'Rsquare']
)
def test_gradients_of_a_constant_window_are_finite(name):
  panel = make_panel()
  formula = formula_lib.parse(f'{name}(close,{WINDOW})')
  gradient = gradient_of(formula, panel, np.ones((T, S)))
  assert np.isfinite(gradient).all() and gradient.any()


@pytest.mark.parametrize(
  'text',
  [
    'Corr(close,volume,5)*Std(Delta(close,1)/Ref(close,1),4)',
    'Cov(Log(close),CSRank(volume),4)/Var(close,5)',
    'Skew(close-vwap,5)+Kurt(close*open,6)',
  ],
)
def test_gradients_of_formulas(text):
  panel, formula = make_panel(), formula_lib.parse(text)
  weights = np.random.default_rng(2).normal(size=(T, S))
  gradient = gradient_of(formula, panel, weights)
  assert np.isfinite(gradient).all() and gradient.any()
  # Away from the stretch of equal values, whose ratios are anything.
  for cell in [(10, 3), (12, 4), (15, 2), (18, 5)]:
    slope = slope_of(formula, panel, weights, cell)
    assert gradient[cell] == pytest.approx(slope, rel=1e-2, abs=1e-2)


def test_a_jitted_caller_may_be_differentiated_in_batches():
  """Rows of a stack of panels, each with its own members."""
  panel = make_panel()
  run = evaluate.compile(formula_lib.parse('CSRank(close)*Std(close,4)'))
  weights = np.ones((T, S), np.float32)

  def total(close, mask):
    features = jnp.asarray(panel.features).at[3].set(close)
    values = run(panel.replace(features=features, mask=mask))
    return jnp.sum(jnp.where(jnp.isfinite(values), values, 0.0) * weights)

  masks = np.stack([panel.mask, ~panel.mask])
  closes = np.stack([panel.features[3], 2 * panel.features[3]])
  together = jax.jit(jax.vmap(jax.grad(total)))(closes, masks)
  assert np.isfinite(together).all()
  alone = jax.jit(jax.grad(total))
  for n in range(2):
    one = alone(closes[n], masks[n])
    np.testing.assert_allclose(together[n], one, rtol=1e-5, atol=1e-6)
    assert np.any(one)


def test_a_formula_is_one_program(monkeypatch):
  """Compiled again, by whoever asks for it, it is not traced again."""
  traced = []
  apply = operators.apply

  def hear(symbol, *args):
    traced.append(symbol)
    return apply(symbol, *args)

  monkeypatch.setattr(operators, 'apply', hear)
  panel = make_panel()
  for text in ('Mul(close,Std(open,3))', 'Std(open,3)*close'):
    evaluate.compile(formula_lib.parse(text))(panel)
  assert sorted(traced) == ['Mul', 'Std']
  shorter = panel_lib.select_days(panel, slice(0, 10))
  evaluate.compile(formula_lib.parse('Std(open,3)*close'))(shorter)
  assert sorted(traced) == ['Mul', 'Mul', 'Std', 'Std']  # Another shape.


def test_what_is_no_formula_is_refused_and_none_are_no_values():
  panel = panel_lib.make(
    np.ones((6, 3, 2)), np.ones((3, 2), bool),
    ['2020-01-01', '2020-01-02', '2020-01-03'], ['a', 'b'],
  )  # fmt: skip
  assert evaluate.values([], panel).shape == (0, 3, 2)
  for given in ('close', ['close'], formula_lib.parse('close')):
    with pytest.raises(ValueError, match='expected a list of formulas'):
      evaluate.values(given, panel)
  with pytest.raises(ValueError, match="'close' is no formula: expected"):
    evaluate.compile('close')
