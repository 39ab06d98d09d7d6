"""What is turned away before it is evaluated, and why."""

import numpy as np
import pytest
import tiny

from alphajax import markets
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.methods import screen as screen_lib
from alphajax.methods.screen import Known
from alphajax.run.clock import Clock


def config_of(**changes):
  config = tiny.get_config('random_search')
  config.screen.twin = 0.99
  config.screen.update(changes)
  return config


@pytest.fixture(scope='module')
def split():
  return markets.load_market(config_of())[0].train


@pytest.fixture(scope='module')
def screen(split):
  return screen_lib.make(config_of(), split)


def parse(*texts):
  return [formula_lib.parse(text) for text in texts]


def test_dead_formulas_and_twins_are_told_apart(screen):
  proposed = parse(
    'volume', 'Log(close*-1)', 'volume*2', 'Sign(close)', 'Mean(close,5)',
    '-1*volume', 'Abs(Mean(close,5))', 'Delta(close,5)',
  )  # fmt: skip
  kept, known = screen_lib.sift(screen, Known(), proposed, 10)
  assert list(map(str, kept)) == ['volume', 'Mean(close,5)', 'Delta(close,5)']
  reasons = {
    str(formula): known.turned_away.get(formula_lib.key(formula))
    for formula in proposed
  }
  assert reasons == {
    'volume': None, 'Log(close*(-1))': 'dead', 'volume*2': 'twin',
    'Sign(close)': 'dead', 'Mean(close,5)': None, '-volume': 'twin',
    'Abs(Mean(close,5))': 'twin', 'Delta(close,5)': None,
  }  # fmt: skip
  assert known.counts() == {'dead': 2, 'twins': 3}
  # Known from then on.
  kept, again = screen_lib.sift(screen, known, parse('volume*3'), 10)
  assert not kept and again.counts() == {'dead': 2, 'twins': 4}


def test_no_more_than_wanted_and_the_rest_is_not_judged(screen):
  proposed = parse('volume', 'close', 'volume*2', 'open/close')
  kept, known = screen_lib.sift(screen, Known(), proposed, 2)
  assert list(map(str, kept)) == ['volume', 'close']
  assert not known.turned_away and len(known.rows[0]) == 2


def test_behaviours_are_correlations_of_values_on_the_part(screen, split):
  """Against NumPy on the stocks and days that the screen looks at."""
  formulas = parse('close/open', 'Mean(volume,5)', 'Corr(close,volume,10)')
  rows = screen_lib.behaviours(screen, formulas).astype(np.float64)
  days, members = np.asarray(screen.days), np.asarray(screen.members)
  panel = screen.store
  assert members.shape == (40, 12) and panel.shape[1] == 12
  values = [np.asarray(v)[days] for v in screen.store.take(formulas)]
  z = []
  for value in values:
    seen = members & np.isfinite(value)
    day = np.where(seen, value, np.nan).astype(np.float64)
    day -= np.nanmean(day, 1, keepdims=True)
    day /= np.nanstd(day, 1, keepdims=True)
    z.append(np.where(seen, day, 0.0).ravel())
  z = np.stack(z)
  z /= np.linalg.norm(z, axis=1, keepdims=True)
  np.testing.assert_allclose(rows @ rows.T / rows.shape[1], z @ z.T, atol=2e-3)


def test_the_stocks_are_those_that_are_members_long(split):
  mask = np.array(split.panel.mask)
  mask[:, :18] = False
  part = split.replace(panel=split.panel.replace(mask=mask))
  screen = screen_lib.make(config_of(), part)
  assert np.asarray(screen.members).any(0).sum() == mask.any(0).sum() <= 12


def test_fill_draws_until_there_are_enough(screen):
  batches = [
    parse('volume', 'volume*2', 'close'), parse('close', 'open/close'), []
  ]  # fmt: skip
  book = {formula_lib.key(f): 0.0 for f in parse('close')}
  kept, known = screen_lib.fill(
    screen, Known(), book, lambda n: batches[min(n, 2)], 5, Clock()
  )
  assert list(map(str, kept)) == ['volume', 'open/close']
  assert known.counts() == {'dead': 0, 'twins': 1}
  free, same = screen_lib.fill(
    None, Known(), book, lambda n: batches[min(n, 2)], 2, Clock()
  )
  assert list(map(str, free)) == ['volume', 'volume*2']
  assert same == Known(duplicates=1)


def test_every_proposal_is_counted_once(screen):
  """As dead, a twin, a duplicate, evaluated, or one that nobody looked at."""
  batches = [
    parse('volume', 'volume*2', 'close', 'Log(close*-1)', 'volume'),
    parse('volume*2', 'open/close', 'high/low', 'close-open'),
  ]
  kept, known = screen_lib.fill(
    screen, Known(), {}, lambda n: batches[n], 3, Clock()
  )
  assert list(map(str, kept)) == ['volume', 'close', 'open/close']
  expected = {
    'proposed': 9, 'dead': 1, 'twins': 1, 'duplicates': 2, 'passed_over': 2,
  }  # fmt: skip
  assert known.tally(len(kept)) == expected
  again = screen_lib.load(None, screen_lib.save(known), kept)
  assert again.tally(len(kept)) == expected


def test_loaded_it_knows_the_same(screen):
  kept, known = screen_lib.sift(
    screen, Known(), parse('volume', 'close', 'volume*2'), 9
  )
  again = screen_lib.load(screen, screen_lib.save(known), kept)
  np.testing.assert_array_equal(
    np.concatenate(again.rows), np.concatenate(known.rows)
  )
  assert again.turned_away == known.turned_away


def test_a_screen_reads_a_part_of_the_cells(screen, split):
  assert screen.store.shape[1] * 2 < evaluate.Store(split.panel).shape[1]


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'twin': 1.5}, 'config.screen.twin is 1.5'),
    ({'stocks': 1}, 'config.screen.stocks is 1: expected >= 2'),
    ({'days': 0}, 'config.screen.days is 0: expected >= 2'),
  ],
)
def test_bad_options(split, changes, message):
  with pytest.raises(ValueError, match=message):
    screen_lib.make(config_of(**changes), split)


def test_no_screen(split):
  assert screen_lib.make(config_of(twin=0.0), split) is None
