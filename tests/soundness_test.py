"""Tests of formulas on a sample: scale, future, range, dead parts."""

import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.analysis import (
  float_range,
  invariance,
  ranks,
  sample,
  simplify,
  soundness,
)
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, operators
from alphajax.language import formula as formula_lib
from alphajax.language import vocab

DAYS, STOCKS = 240, 20
TEXTS = (
  'close',
  'Delta(close,5)/close',
  'volume*close',
  'Pow(0.01,close)',
  'Mul(Mul(volume,volume),Mul(volume,volume))*Mul(volume,volume)',
  'Pow(volume,2)-Pow(close,0.1)',
  'Var(close/open,5)',
  'CSRank(Abs(volume)*0.1)',
  'Greater(close,low)-open',
  'Log(-1*close)',
)


@pytest.fixture(scope='module')
def split():
  rng = np.random.default_rng(0)
  steps = 0.02 * rng.normal(size=(DAYS, STOCKS))
  close = 20 * np.exp(np.cumsum(steps, 0))
  first = close * np.exp(0.01 * rng.normal(size=close.shape))
  high, low = np.maximum(first, close) * 1.01, np.minimum(first, close) * 0.99
  volume = 1e6 * np.exp(rng.normal(size=close.shape))
  features = np.stack([first, high, low, close, volume, (high + low) / 2])
  mask = rng.random(close.shape) < 0.9
  days = np.busday_offset('2020-01-01', np.arange(DAYS), roll='forward')
  panel = panel_lib.make(
    features, mask, days.astype(str).tolist(), [f's{i}' for i in range(STOCKS)]
  )
  return panel_lib.split(
    panel, 'all', panel.dates[30], panel.dates[-1], lookback=10
  )


@pytest.fixture(scope='module')
def part(split):
  return sample.make(split, 10, stocks=12, days=50)


@pytest.fixture(scope='module')
def formulas():
  return [formula_lib.parse(text) for text in TEXTS]


@pytest.fixture(scope='module')
def checked(part, formulas):
  return soundness.check(formulas, part)


def test_a_sample_is_a_part_of_the_split(split, part):
  assert part.days.sum() == 50 and len(part.panel.symbols) == 12
  rows = slice(part.first, part.first + len(part.days))
  scored = np.flatnonzero(split.scored)
  np.testing.assert_array_equal(
    np.flatnonzero(part.days) + part.first, scored[-50:]
  )
  assert part.first == scored[-50] - sample.STEP  # Warm-up, in whole steps.
  np.testing.assert_array_equal(
    part.panel.features, split.panel.features[:, rows][:, :, part.stocks]
  )
  signal = split.panel.features[0]
  np.testing.assert_array_equal(
    sample.cut(signal, part), part.panel.features[0]
  )
  small = sample.make(split, 10)  # It has fewer than a sample may.
  assert len(small.panel.symbols) == STOCKS


def test_places_compare_as_ranks_do(part, formulas):
  store = evaluate.make_store(part.panel)
  where = sample.tested(part)
  places = store.map(formulas, sample.places, *where)
  values = store.take(formulas)
  days = jnp.asarray(part.days)
  for i in range(len(formulas)):
    base = ranks.rank(values[i], store.universe)
    found = sample.compare(places, np.repeat(places[i : i + 1], len(places), 0))
    for j, other in enumerate(values):
      expected = ranks.difference(other, base, store.universe, days)
      assert found.alike[j] == ranks.alike(expected)
      assert found.ranked[j] == int(expected.count)
      if np.array_equal(places[i] >= 0, places[j] >= 0):
        # Otherwise the other one counts a share of the day's stocks.
        assert found.moved[j] == pytest.approx(float(expected.moved), abs=1e-6)


@pytest.mark.parametrize(
  'change, alike',
  [(0, True), (1, True), (2, True), (3, False), (20, False), (None, False)],
)
def test_noise_moves_few_ranks_by_a_place(change, alike):
  base = np.tile(np.arange(2, 42, 2, np.int16), (1, 60, 1))
  new = base.copy()
  new[0, 3, 4] = -1 if change is None else new[0, 3, 4] + change
  found = sample.compare(new, base)
  assert found.alike.tolist() == [alike]
  assert found.moved[0] == (change != 0) / 1200 and found.ranked[0] == 1200


def test_many_moves_are_no_noise():
  base = np.tile(np.arange(2, 42, 2, np.int16), (1, 60, 1))
  new = base.copy()
  new[0, :2, 0] += 1
  assert not sample.compare(new, base).alike[0]


def test_scale_is_that_of_invariance(part, formulas, checked):
  expected = invariance.check(formulas, part.panel, part.days)
  for sound, each, text in zip(checked, expected, TEXTS, strict=True):
    price = 0 if each.price_invariant else float(each.price.moved)
    volume = 0 if each.volume_invariant else float(each.volume.moved)
    # Of volume^6 other cells are missing, which the two count otherwise.
    close = 0.05 if text == TEXTS[4] else 1e-6
    assert sound.price == pytest.approx(price, abs=close), text
    assert sound.volume == pytest.approx(volume, abs=close), text
    assert sound.ranked == (each.price.count > 0)
  assert checked[0].price > 0.5 and checked[0].volume == 0
  assert checked[1].price == checked[1].volume == 0


def test_the_lost_share_is_that_of_float_range(part, formulas, checked):
  expected = float_range.lost_share(formulas, part.panel, days=part.days)
  np.testing.assert_allclose([s.lost for s in checked], expected)
  assert expected[3] > 0 and expected[4] > 0  # Of Pow, and of volume^6.
  assert not expected[[0, 1, 2, 5, 6, 7, 8, 9]].any()


def test_no_formula_of_the_language_looks_ahead(checked):
  assert not any(sound.looks_ahead for sound in checked)


def test_an_operator_that_peeks_is_found(part, monkeypatch):
  monkeypatch.setattr(vocab, 'OPERATORS', dict(vocab.OPERATORS))
  monkeypatch.setattr(operators, 'FUNCTIONS', dict(operators.FUNCTIONS))
  vocab.OPERATORS['Peek'] = vocab.OPERATORS['Abs']
  operators.FUNCTIONS['Peek'] = lambda x: jnp.roll(x, -1, axis=0)
  texts = ('close', 'Peek(close)', 'close+0.001*Peek(volume)')
  formulas = [formula_lib.parse(text) for text in texts]
  assert soundness.looks_ahead(formulas, part).tolist() == [False, True, True]


@pytest.mark.parametrize(
  'text, dead',
  [
    ('close', []),
    ('close-open', []),
    ('CSRank(Abs(volume)*0.1)', [
      ('CSRank(Abs(volume)*0.1)', 'Abs(volume)*0.1'),
      ('Abs(volume)*0.1', 'Abs(volume)'),
      ('Abs(volume)', 'volume'),
    ]),
    ('Greater(close,low)-open', [('Greater(close,low)', 'close')]),
    ('close+0*volume', [('close+0*volume', 'close')]),
    ('Mean(close,5)-Sign(high)', [
      ('Mean(close,5)-Sign(high)', 'Mean(close,5)')
    ]),
    ('Delta(close,5)*Sign(high)', [
      ('Delta(close,5)*Sign(high)', 'Delta(close,5)')
    ]),
    ('Delta(close,5)/(2-Sign(high))', [
      ('Delta(close,5)/(2-Sign(high))', 'Delta(close,5)')
    ]),
    ('open-close*Sign(high)', [('close*Sign(high)', 'close')]),
  ],
)  # fmt: skip
def test_dead_parts(part, text, dead):
  formula = formula_lib.parse(text)
  (sound,) = soundness.check([formula], part)
  assert [tuple(each) for each in sound.dead] == dead
  # Where a part is dead, `simplify` finds something shorter, and nowhere else.
  shorter = simplify.simplify(formula, part.panel, days=part.days)
  assert bool(shorter) == bool(dead)


def test_nothing_is_said_of_what_has_no_rank(checked):
  assert not checked[-1].ranked and checked[-1].dead == ()
