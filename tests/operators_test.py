"""Every operator against the float64 oracle, on data as bad as real data.

An operator passes when its missing values are the oracle's and its error is
under 1e-4 of the spread over stocks of that day. Both sides read the same
float32 numbers. Where the stocks hardly differ there is no spread to measure
by: `ROUNDING`, eight units in the last place, is what a few float32 steps cost.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from alphajax.data import universe
from alphajax.factor import operators, rolling, windows
from alphajax.language import vocab

T, S = 150, 24
TOLERANCE = 1e-4
ROUNDING = 2.0**-20
# Operators whose values are of order 1 whatever the operands round like that
# number, also where the result is 0 (the skew of any two numbers). Kurt is a
# quotient less 3.
UNITS = {'Kurt': 3, 'Skew': 1, 'Corr': 1, 'Rank': 1, 'CSRank': 1, 'Sign': 1}
UNITS |= {'Rsquare': 1, 'GroupRank': 1}
WINDOWS = (1, 2, 5, 20, 40)
# Too long for one loop: two blocks and a day, three blocks and two days.
LONG = (windows.FUSED + 1, 131)
# How to compile what is only asked where it is missing.
QUICKLY = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
  'xla_cpu_use_fusion_emitters': False,
}


def returns(rng):
  return 1e-3 * rng.standard_t(4, (T, S))


def prices(rng):
  steps = 0.01 * rng.standard_t(4, (T, S))
  return np.exp(rng.normal(3, 1, S) + np.cumsum(steps, 0))


def volume(rng):
  size = rng.uniform(np.log(1e5), np.log(1e10), S)
  return np.clip(np.exp(size + 0.5 * rng.normal(size=(T, S))), 1e5, 1e10)


def wild_volume(rng):
  """A stock's volume runs over five decades within one window."""
  return np.exp(rng.uniform(np.log(1e5), np.log(1e10), (T, S)))


def level(rng):
  """Much level, little variation: where E[x^2]-E[x]^2 has no digits left."""
  base = np.exp(rng.uniform(np.log(1e5), np.log(1e10), S))
  return base * (1 + 1e-3 * rng.normal(size=(T, S)))


def missing(rng):
  x = prices(rng)
  x[rng.random(x.shape) < 0.02] = np.nan
  x[20:23] = np.nan  # Nobody traded.
  x[:, 5] = np.nan
  return x


def constant(rng):
  """Stretches of one value, from two days to longer than any window."""
  x = prices(rng)
  for stock in range(S):
    day = 0
    while day < T:
      length = int(rng.choice([2, 8, 25, 60]))
      x[day : day + length, stock] = x[day, stock]
      day += length
  x[:, 0] = 0.0
  x[:, 1] = 7e9
  return x


def ties(rng):
  return rng.integers(-2, 3, (T, S)).astype(float)


def infinite(rng):
  x = rng.normal(size=(T, S))
  x[rng.random(x.shape) < 0.01] = np.inf
  x[rng.random(x.shape) < 0.01] = -np.inf
  x[rng.random(x.shape) < 0.01] = 0.0
  return x


def listed_midway(rng):
  x = prices(rng)
  x[: T // 2, ::3] = np.nan
  x[T // 2 :, 1] = np.nan
  return x


DATA = {
  kind.__name__: kind
  for kind in (
    returns,
    prices,
    volume,
    wild_volume,
    level,
    missing,
    constant,
    ties,
    infinite,
    listed_midway,
  )
}


def operands_of(kind, count=2):
  """Planes `f32[T, S]` and members; the planes are not related."""
  x = [
    DATA[kind](np.random.default_rng(seed)).astype(np.float32)
    for seed in range(count)
  ]
  members = np.random.default_rng(7).random((T, S)) < 0.8
  members[60] = False
  members[:, 3] = False
  return x, members


def operands_for(name, kind):
  """As `operands_of`, with what else the operator takes: codes, levels, ..."""
  slots = vocab.SLOTS[vocab.OPERATORS[name].kind]
  x, members = operands_of(kind, len(slots))
  rng = np.random.default_rng(11)
  special = {
    'condition': rng.choice([0, 1, 1, 0.5, np.nan], (T, S)),
    'level': rng.choice(
      [0, 0.2, 0.5, 0.8, 1, 1 / 3, -0.1, 1.1, np.nan], (T, S)
    ),
    'group': rng.choice([0, 1, 2, 7, np.nan], (T, S)),
  }
  x = [
    special.get(slot, plane).astype(np.float32)
    for slot, plane in zip(slots, x, strict=True)
    if slot != 'window'
  ]
  return x, members


def run(name, operands, window, members):
  """One panel of `[T, S]`, repeated to what `of_all_kinds` has compiled."""
  if operands[0].shape != (T, S):
    return apply(name, operands, members, window)
  count, axis = len(DATA), beside(name)
  operands, members = jax.tree.map(
    lambda x: np.concatenate([x] * count, axis), (operands, members)
  )
  out = apply(name, operands, members, window)
  return np.split(out, count, axis)[0]


def apply(name, operands, members, window):
  out = operators.apply(
    name, [jnp.asarray(x) for x in operands], window, jnp.asarray(members)
  )
  assert out.dtype == jnp.float32
  return np.asarray(out)


def beside(name):
  """The axis along which panels do not see each other: days, or stocks."""
  return 0 if name in operators.CROSS_SECTIONAL else 1


@functools.cache
def of_all_kinds(name, window):
  """Results on every kind of data, computed beside each other."""
  axis = beside(name)
  cases = [operands_for(name, kind) for kind in DATA]
  operands, members = jax.tree.map(
    lambda *panels: np.concatenate(panels, axis), *cases
  )
  out = apply(name, operands, members, window)
  return dict(zip(DATA, np.split(out, len(DATA), axis), strict=True))


def spread_of(expected):
  """Standard deviation over stocks `[T, 1]`; 0 on a day without values."""
  known = np.isfinite(expected)
  count = np.maximum(known.sum(1, keepdims=True), 1)
  x = np.where(known, expected, 0.0)
  centred = np.where(known, x - x.sum(1, keepdims=True) / count, 0.0)
  largest = np.abs(centred).max(1, keepdims=True)
  unit = centred / np.where(largest > 0, largest, 1.0)
  return largest * np.sqrt((unit**2).sum(1, keepdims=True) / count)


def assert_agrees(name, actual, expected):
  """Equal missing values, errors under the tolerance; says where and by how
  much."""
  lost = np.isnan(actual) & ~np.isnan(expected)
  made_up = ~np.isnan(actual) & np.isnan(expected)
  where = np.argwhere(lost | made_up)[:3].tolist()
  assert not where, (
    f'{name}: {lost.sum()} values missing and {made_up.sum()} made up, first '
    f'at {where}: {[(actual[*at], expected[*at]) for at in where]}'
  )
  spread = spread_of(expected)
  scale = np.maximum(np.abs(expected), UNITS.get(name, 0))
  error = np.abs(actual - expected)
  excess = np.nan_to_num(
    error / (TOLERANCE * spread + ROUNDING * scale + 1e-45)
  )
  day, stock = np.unravel_index(excess.argmax(), excess.shape)
  assert excess.max() <= 1, (
    f'{name}: {(excess > 1).sum()} of {excess.size} values off, the worst at '
    f'day {day}, stock {stock}: {actual[day, stock]!r} instead of '
    f'{expected[day, stock]!r}; error {error[day, stock]:.2g}, spread of the '
    f'day {spread[day, 0]:.3g}'
  )


def cases():
  for name in vocab.OPERATORS:
    for window in WINDOWS if name in oracle.WINDOWED else (None,):
      yield name, window


@pytest.mark.parametrize('kind', DATA)
@pytest.mark.parametrize('name, window', list(cases()))
def test_equals_oracle(name, window, kind):
  x, members = operands_for(name, kind)
  expected = oracle.apply(name, x, window, members)
  assert_agrees(name, of_all_kinds(name, window)[kind], expected)


@functools.cache
def compiled(name, window=None, **options):
  return jax.jit(
    lambda operands, members: operators.apply(name, operands, window, members),
    compiler_options=options,
  )


@pytest.mark.parametrize('kind', DATA)
@pytest.mark.parametrize('window', LONG)
@pytest.mark.parametrize('name', oracle.WINDOWED)
def test_long_windows_equal_oracle(name, window, kind):
  x, members = operands_for(name, kind)
  expected = oracle.apply(name, x, window, members)
  actual = np.asarray(compiled(name, window)(x, members))
  assert_agrees(name, actual, expected)


@pytest.mark.parametrize('kind', DATA)
@pytest.mark.parametrize('window', [rolling.SORTED, rolling.SORTED + 1])
def test_median_of_a_window_that_moves(window, kind):
  x, members = operands_for('Med', kind)
  expected = oracle.apply('Med', x, window, members)
  assert_agrees(
    'Med', np.asarray(compiled('Med', window)(x, members)), expected
  )


@pytest.mark.parametrize('window', [20, 40])
@pytest.mark.parametrize('kind', ['volume', 'prices', 'level'])
@pytest.mark.parametrize('name', oracle.PAIRED)
@pytest.mark.parametrize('swap', [False, True])
def test_paired_of_different_kinds(name, kind, window, swap):
  x, members = operands_of(kind, 1)
  y, _ = operands_of('returns', 1)
  pair = [*y, *x] if swap else [*x, *y]
  expected = oracle.apply(name, pair, window, members)
  assert_agrees(name, run(name, pair, window, members), expected)


@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize('window', [5, 20])
@pytest.mark.parametrize('kind', ['returns', 'prices', 'volume', 'level'])
def test_corr_of_a_series_with_itself(kind, window, sign):
  x, members = operands_of(kind, 1)
  pair = [x[0], sign * x[0]]
  # NaN where a volume stays at its bound and the window is constant.
  expected = oracle.apply('Corr', pair, window, members)
  actual = run('Corr', pair, window, members)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)
  np.testing.assert_allclose(np.nanmean(expected), sign, rtol=1e-9)


@pytest.mark.parametrize('scale', [1e-25, 1e-18, 1e18, 1e25, 1e30])
@pytest.mark.parametrize('name', ['Std', 'Mad', 'Skew', 'Kurt', 'Corr'])
def test_any_scale(name, scale):
  """Where squares leave float32's range but the result is inside it.

  Random formulas get there: Pow(0.01,Sum(close,20)), Kurt(Pow(low,open),20).
  """
  x, members = operands_of('prices', oracle.arity(name))
  x = [(scale * plane).astype(np.float32) for plane in x]
  expected = oracle.apply(name, x, 20, members)
  assert np.isfinite(expected[19:]).all()
  assert_agrees(name, run(name, x, 20, members), expected)


@pytest.mark.parametrize('exponent', [-0.1, -0.01, 0.01, 0.05, 0.1, 2.0])
@pytest.mark.parametrize('kind', ['returns', 'prices', 'volume', 'missing'])
def test_pow_of_a_number(kind, exponent):
  x, members = operands_of(kind, 1)
  number = np.full((T, S), exponent, np.float32)
  for pair in ([x[0], number], [number, x[0]]):
    expected = oracle.apply('Pow', pair, None, members)
    assert_agrees('Pow', run('Pow', pair, None, members), expected)


@pytest.mark.parametrize('name', ['Skew', 'Kurt', 'Corr'])
@pytest.mark.parametrize(
  'noise, is_constant', [(0, True), (1e-7, True), (1e-5, False), (1e-3, False)]
)
@pytest.mark.parametrize('level', [1e-3, 1.0, 37.5, 1e10])
def test_constant_is_relative(name, noise, is_constant, level):
  rng = np.random.default_rng(0)
  signs = rng.choice([-1.0, 1.0], (T, S))
  x = (level * (1 + noise * signs)).astype(np.float32)
  operands = [x, *operands_of('returns', 1)[0]][: oracle.arity(name)]
  members = np.ones((T, S), bool)
  expected = oracle.apply(name, operands, 20, members)
  assert np.isnan(expected[19:]).all() == is_constant
  actual = run(name, operands, 20, members)
  np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


@pytest.mark.parametrize('name', ['Std', 'Var', 'Mad', 'Cov'])
@pytest.mark.parametrize('level', [0.0, 1.1, 1e10])
def test_dispersion_of_a_constant_is_about_zero(name, level):
  x = np.full((T, S), level, np.float32)
  operands = [x] * oracle.arity(name)
  actual = run(name, operands, 20, np.ones((T, S), bool))
  power = 2 if name in ('Var', 'Cov') else 1
  assert np.isnan(actual[:19]).all()
  assert (np.abs(actual[19:]) <= (1e-6 * level) ** power).all()


@pytest.mark.parametrize('name', oracle.WINDOWED)
def test_a_window_longer_than_the_data_is_missing(name):
  x, members = operands_of('prices', oracle.arity(name))
  short = [plane[:30] for plane in x], members[:30]
  assert np.isnan(apply(name, *short, window=40)).all()
  assert np.isnan(compiled(name, LONG[0], **QUICKLY)(*short)).all()


@pytest.mark.parametrize('window', [20, LONG[0]])
def test_a_product_in_range_whose_parts_are_not(window):
  """Volumes of 1e5 to 1e10 and their inverses: parts reach 1e100 and more."""
  (x,), members = operands_of('volume', 1)
  half = np.arange(T)[:, None] % window < window // 2
  x = np.where(half, x, 1 / x).astype(np.float32)
  expected = oracle.apply('Product', [x], window, members)
  known = ~np.isnan(expected) & (expected != 0)
  assert known[window - 1 :].mean() > 0.3
  actual = run('Product', [x], window, members)
  np.testing.assert_allclose(actual[known], expected[known], rtol=1e-4)
  np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


@pytest.mark.parametrize('level', [0.0, 0.1, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize('kind', ['volume', 'ties', 'level'])
def test_quantile_of_a_number(kind, level):
  """Levels as formulas have them: a product that float32 rounds to a place."""
  x, members = operands_of(kind, 1)
  operands = [*x, np.full((T, S), level, np.float32)]
  for window in (5, 11, 21):
    expected = oracle.apply('Quantile', operands, window, members)
    actual = run('Quantile', operands, window, members)
    assert_agrees('Quantile', actual, expected)
    if level == 0.5:
      median = run('Med', x, window, members)
      np.testing.assert_array_equal(actual, median)


@pytest.mark.parametrize('name', ['Slope', 'Resi', 'Rsquare'])
@pytest.mark.parametrize('start', [0.0, 1e9])
def test_lines(name, start):
  """A straight line has its slope, no residual and all of its variance."""
  x = start + 1024.0 * np.arange(T)[:, None] * np.ones((1, S))
  actual = run(name, [x.astype(np.float32)], 20, np.ones((T, S), bool))[19:]
  expected = {'Slope': 1024.0, 'Resi': 0.0, 'Rsquare': 1.0}[name]
  np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-2)


def test_line_of_a_constant():
  x = np.full((T, S), 1.1e10, np.float32)
  everyone = np.ones((T, S), bool)
  assert (run('Slope', [x], 20, everyone)[19:] == 0).all()
  assert (run('Resi', [x], 20, everyone)[19:] == 0).all()
  assert np.isnan(run('Rsquare', [x], 20, everyone)).all()
  for name in ('Slope', 'Resi', 'Rsquare'):  # One day has no line.
    assert np.isnan(run(name, [x], 1, everyone)).all()


def test_scale_at_the_ends_of_the_range():
  x = np.array([[3e38, -3e38, np.nan, 1e38], [2e-38, 6e-38, 0, 0]], np.float32)
  members = np.array([[1, 1, 1, 0]] * 2, bool)
  expected = [[0.5, -0.5, np.nan, np.nan], [0.25, 0.75, 0, np.nan]]
  actual = compiled('Scale')([x], members)
  np.testing.assert_allclose(actual, expected, rtol=1e-6)
  assert np.isnan(compiled('Scale')([0 * x], members)).all()


@pytest.mark.parametrize('name', ['GroupRank', 'GroupNeutral', 'Scale'])
def test_cross_sections_see_members_only(name):
  x, members = operands_for(name, 'volume')
  before = run(name, x, None, members)
  assert np.isnan(before[~members]).all()
  x[0] = np.where(members, x[0], 1e9).astype(np.float32)
  np.testing.assert_array_equal(before, run(name, x, None, members))
  x[0] = np.where(members, x[0], np.nan).astype(np.float32)
  np.testing.assert_array_equal(before, run(name, x, None, members))


def test_groups_of_a_universe_equal_those_of_a_mask():
  """Members side by side, as the store has them; many groups, negative ones."""
  rng = np.random.default_rng(5)
  x = rng.integers(0, 9, (len(DATA) * T, S)).astype(np.float32)
  group = rng.choice([-3.0, -0.0, 0.0, 1.5, *range(20, 40)], x.shape)
  members = rng.random(x.shape) < 0.5
  for name in ('GroupRank', 'GroupNeutral'):
    operands = [x, group.astype(np.float32)]
    expected = oracle.apply(name, operands, None, members)
    for where in (jnp.asarray(members), universe.make(members)):
      actual = operators.apply(name, operands, None, where)
      np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize('name', ['Slope', 'Resi', 'Rsquare', 'Product', 'If',
                                  'Scale', 'GroupNeutral', 'SignedPower',
                                  'Quantile'])  # fmt: skip
def test_gradients(name):
  """Of today's values by a number inside, against finite differences."""
  rng = np.random.default_rng(0)
  x, y = rng.uniform(0.5, 2.0, (2, 12, 6)).astype(np.float32)
  slots = vocab.SLOTS[vocab.OPERATORS[name].kind]
  window = 5 if 'window' in slots else None
  codes = np.tile([0, 0, 1, 1, 1, 2], (12, 1)).astype(np.float32)
  special = {'condition': y > 1, 'level': np.full_like(x, 0.3), 'group': codes}
  weights = rng.normal(size=(12, 6))

  def total(a):
    operands = [special.get(slot, y) for slot in slots if slot != 'window']
    place = slots.index('value')
    operands[place] = a * x + y
    if name == 'Quantile':
      operands = [x, jnp.full_like(x, a)]
    # Days before it: what is missing in the first windows poisons gradients.
    days = ((window or 0, 0), (0, 0))
    operands = [jnp.pad(z, days, constant_values=1.0) for z in operands]
    members = jnp.ones(operands[0].shape, bool)
    result = operators.apply(name, operands, window, members)[window or 0 :]
    return jnp.sum(result * weights)

  both = jax.jit(jax.value_and_grad(total))
  gradient, step = float(both(0.7)[1]), 1e-2
  slope = float(both(0.7 + step)[0] - both(0.7 - step)[0]) / (2 * step)
  assert gradient == pytest.approx(slope, rel=0.02, abs=0.01) and gradient != 0


def test_gradients_of_groups_pass_by_the_missing():
  rng = np.random.default_rng(0)
  x, weights = rng.normal(size=(2, 3, 8)).astype(np.float32)
  x[0, 1] = np.nan
  group = np.array([[0, 0, 0, 1, 1, 1, 1, np.nan]] * 3, np.float32)
  members = jnp.asarray(rng.random((3, 8)) < 0.8)

  def total(x, name):
    operands = [x, group][: oracle.arity(name)]
    result = operators.apply(name, operands, None, members)
    return jnp.nansum(result * weights)

  for name in ('GroupNeutral', 'Scale'):
    both = jax.jit(jax.value_and_grad(functools.partial(total, name=name)))
    gradient = np.asarray(both(x)[1])
    assert np.isfinite(gradient).all()
    for day, stock in [(0, 0), (1, 3), (2, 5)]:
      moved = [np.array(x) for _ in range(2)]
      moved[0][day, stock] += 1e-2
      moved[1][day, stock] -= 1e-2
      slope = float(both(moved[0])[0] - both(moved[1])[0]) / 2e-2
      assert float(gradient[day, stock]) == pytest.approx(slope, abs=2e-3)
    assert (gradient[~np.asarray(members)] == 0).all() and gradient[0, 1] == 0


def test_csrank_sees_members_only():
  (x,), members = operands_of('prices', 1)
  before = run('CSRank', [x], None, members)
  assert np.isnan(before[~members]).all()
  changed = np.where(members, x, 1e9).astype(np.float32)
  np.testing.assert_array_equal(before, run('CSRank', [changed], None, members))
  assert np.nanmax(before) == 1 and np.nanmin(before) > 0
