"""Constants by gradient, against finite differences and a brute-force grid."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax import markets
from alphajax.analysis import tune
from alphajax.factor import gradients, objectives, operators
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.methods import refinement

ORDER_ONLY = ('CSRank', 'Rank', 'Sign', 'Med')  # They have no gradient.
DAYS, STOCKS, WINDOW = 30, 6, 5


def parse(text):
  return formula_lib.parse(text)


def data(seed):
  """Positive numbers with gaps, a late start and a stretch of equal values."""
  rng = np.random.default_rng(seed)
  x = rng.uniform(0.5, 3.0, (DAYS, STOCKS)).astype(np.float32)
  x[rng.random(x.shape) < 0.03] = np.nan
  x[:8, 0] = np.nan
  x[10:20, 1] = 2.0
  return x


@pytest.mark.parametrize('name', vocab.PAPER_OPERATORS)
def test_gradients_with_missing_values(name):
  """`a x + b y` inside an operator: da agrees with finite differences."""
  kind = vocab.OPERATORS[name].kind
  window = WINDOW if kind in vocab.WINDOWED else None
  x, y, other = data(0), data(1), data(2)
  members = np.ones(x.shape, bool)
  weights = np.random.default_rng(3).normal(size=x.shape).astype(np.float32)
  operator = gradients.guard(
    lambda members, *z: operators.apply(name, list(z), window, members),
    window=window,
  )
  add = gradients.guard(lambda _, a, x, y: a * x + y)

  @jax.jit
  @jax.value_and_grad
  def total(a):
    operands = [add((), jnp.full(x.shape, a), x, y)]
    operands += [other] * (vocab.OPERANDS[kind] - 1)
    result = operator(members, *operands)
    return jnp.sum(jnp.where(jnp.isfinite(result), result * weights, 0.0))

  gradient = float(total(0.7)[1])
  if name in ORDER_ONLY:
    assert gradient == 0.0
    return
  step = 1e-2 if name not in ('Max', 'Min', 'Mad', 'Greater', 'Less') else 1e-3
  slope = float(total(0.7 + step)[0] - total(0.7 - step)[0]) / (2 * step)
  assert gradient != 0.0
  # The stretch of equal values has Std and Mad at a kink.
  assert gradient == pytest.approx(slope, rel=0.05, abs=0.05)


def test_guard_without_it_is_nan():
  """What the double where is for."""
  x = data(0)

  def total(product):
    def run(a):
      result = product(jnp.full(x.shape, a), x)
      return jnp.sum(jnp.where(jnp.isfinite(result), result, 0.0))

    return run

  plain = jax.jit(jax.grad(total(jnp.multiply)))(2.0)
  multiply = gradients.guard(lambda _, a, x: a * x)
  guarded = jax.jit(jax.grad(total(functools.partial(multiply, ()))))(2.0)
  assert np.isnan(plain)
  assert guarded == pytest.approx(float(np.nansum(x)), rel=1e-5)


@pytest.mark.parametrize(
  'text, values',
  [
    ('Mean(close,6)-close', []),
    ('Pow(high*low,0.5)-vwap', [0.5]),
    ('-Corr(open+0.1,volume,10)', [-1.0, 0.1]),
    ('Ref(close,3)*3-Greater(close,30)', [3.0, 30.0]),
  ],
)
def test_constants_are_no_windows(text, values):
  formula = parse(text)
  assert tune.constants(formula) == values
  assert tune.replace_constants(formula, values) == formula
  doubled = tune.replace_constants(formula, [2 * v for v in values])
  assert tune.constants(doubled) == [2 * v for v in values]
  with pytest.raises(ValueError, match='fewer than'):
    tune.replace_constants(formula, [*values, 1.0])


@pytest.fixture(scope='module')
def bench():
  config = tiny.get_config('random_search')
  market, _ = markets.load_market(config)
  return refinement.make_bench(config, market.train)


def run(bench, text, seed=0, **options):
  options = {'num_steps': 25, 'num_starts': 4} | options
  return tune.tune(
    parse(text),
    bench.store,
    bench.target,
    bench.scored,
    rate=lambda daily: objectives.oriented(
      bench.objective, daily, bench.scored
    )[0],
    score=functools.partial(refinement.score, bench),
    rng_key=jax.random.key(seed),
    **options,
  )


def test_parametrised_formula_has_the_same_values(bench):
  formula = parse('CSRank(Mean(close,5)*0.3)-Pow(Std(close,10),0.5)/volume')
  function, parts = tune.parametrise(formula)
  assert [str(p) for p in parts] == ['Mean(close,5)', 'Std(close,10)', 'volume']
  constants = np.asarray(tune.constants(formula), np.float32)
  values = jax.jit(function)(
    constants, tuple(bench.store.take(parts)), bench.store.universe
  )
  np.testing.assert_allclose(
    values, bench.store.take([formula])[0], rtol=1e-5, equal_nan=True
  )


def test_finds_what_a_grid_finds(bench):
  """The best mixture of two signals, planted ones among them."""
  text = 'Mean(close/vwap,20)-{}*Std(volume,20)/Mean(volume,20)'
  grid = np.concatenate([-np.logspace(-4, 2, 60), np.logspace(-4, 2, 60)])
  scores = refinement.score(
    bench, [parse(text.format(f'({c:.6f})')) for c in grid]
  )
  tuned = run(bench, text.format('0.5'))
  assert tuned.score >= max(scores) - 5e-4
  assert tuned.score > refinement.score(bench, [parse(text.format('0.5'))])[0]
  assert tuned.score == refinement.score(bench, [tuned.formula])[0]
  assert tuned.without_gradient == ()
  (found,) = tuned.after
  assert found == float(f'{found:.{tune.DIGITS}g}')


@pytest.mark.parametrize('seed', range(3))
def test_never_worse(bench, seed):
  for text in ('close/0.05-open', 'Pow(close,2)-vwap', 'Greater(close,9)*high'):
    before = refinement.score(bench, [parse(text)])[0]
    assert run(bench, text, seed, num_starts=2).score >= before


def test_a_factor_of_the_whole_stays_as_it_is(bench):
  tuned = run(bench, '-3*(Mean(close/vwap,20)-0.5*Std(close,5)/close)')
  assert tuned.before[0] == tuned.after[0] == -3.0
  assert tuned.before[1] != tuned.after[1]


def test_says_which_constants_have_no_gradient(bench):
  tuned = run(bench, 'Sign(close-9)+0.1*close')
  assert tuned.without_gradient == (0,)
  assert run(bench, 'CSRank(close*0.3)').without_gradient == (0,)


def test_nothing_to_tune(bench):
  tuned = run(bench, 'Mean(close,5)-close')
  assert tuned.before == tuned.after == ()
  assert str(tuned.formula) == 'Mean(close,5)-close'
  with pytest.raises(ValueError, match='tune_steps is 0'):
    run(bench, 'close-0.1', num_steps=0)


def test_the_seed_decides(bench):
  text = 'Mean(close,5)/close-0.3*Std(volume,5)/volume'
  assert run(bench, text, 1) == run(bench, text, 1)
