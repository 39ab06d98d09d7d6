"""Candidates ranked by what the formulas evaluated let expect of them."""

import jax
import numpy as np
import pytest
import tiny

from alphajax import markets
from alphajax.language import environment
from alphajax.language import formula as formula_lib
from alphajax.methods import archive, random_search, surrogate
from alphajax.methods import screen as screen_lib
from alphajax.search import nearest

COUNT = 12


def config_of(**screen):
  config = tiny.get_config('random_search')
  config.num_trajectories = COUNT
  config.pool.rule, config.pool.penalty = 'elastic_net', 0.5
  config.screen.update({'twin': 0.99, 'rank': 'ic', 'candidates': 4, **screen})
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


@pytest.fixture(scope='module')
def method(market):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(surrogate, 'LEAST', 10)
    yield random_search.make(config_of(), market)


@pytest.fixture(scope='module')
def steps(method):
  state, records = method.init(jax.random.key(0)), []
  states = [state]
  for i in range(4):
    state, metrics = method.step(state, jax.random.key(i + 1))
    states.append(state)
    records.append(metrics)
  return states, records


def test_it_is_the_best_of_some_candidates_that_are_evaluated(market, steps):
  states, _ = steps
  before, after = states[-2:]
  bench = archive.make_bench(config_of(), market, reads_pool=False)
  options = config_of().screen
  evidence = surrogate.read(options, bench, before.mined, before.known)
  places = np.arange(len(before.mined.book), len(after.mined.book))
  assert len(places) == COUNT
  rows = nearest.take(after.known.rows, places).astype(np.float16)
  # The first of all that was drawn for them, but for what was turned away.
  screen = screen_lib.make(config_of(), market.train)
  grammar, key = environment.make(**config_of().language), jax.random.key(4)
  drawn, number = {}, 0
  while len(drawn) < options.candidates * COUNT:
    for formula in environment.random_formulas(
      grammar, jax.random.fold_in(key, number), 2 * COUNT
    ):
      name = formula_lib.key(formula)
      if name not in {*before.mined.book, *before.known.turned_away}:
        drawn.setdefault(name, formula)
    number += 1
  seen = screen_lib.behaviours(screen, list(drawn.values()))
  order = surrogate.order(options, evidence, seen)
  names = [list(drawn)[place] for place in order.tolist()]
  ranks = [names.index(name) for name in [*after.mined.book][-COUNT:]]
  assert ranks == sorted(ranks) and ranks[-1] < len(names) - 1
  passed_over = {names[n] for n in range(ranks[-1]) if n not in ranks}
  assert passed_over <= after.known.turned_away.keys()
  # What is expected is a ridge regression on the whole archive.
  daily = np.concatenate(before.mined.memory.daily).astype(np.float64)
  known = nearest.take(before.known.rows, np.array(before.mined.memory.ids))
  gram = known @ known.T / known.shape[1]
  across = rows.astype(np.float32) @ known.T / known.shape[1]
  ridge = gram + surrogate.RIDGE * np.eye(len(gram))
  blocks = np.array_split(daily, surrogate.BLOCKS, axis=1)
  ics = np.mean([block.mean(1) for block in blocks], 0)
  expected = across @ np.linalg.solve(ridge, ics)
  foreseen = surrogate._forecast(evidence, rows, 0.0)
  np.testing.assert_allclose(foreseen.ic, expected, atol=1e-6)


def test_figures_say_how_well_they_were_foreseen(steps):
  _, records = steps
  assert records[0]['foreseen_rank'] is None and records[0]['trust'] is None
  assert -1 <= records[-1]['foreseen_rank'] <= 1
  assert 0 <= records[-1]['trust'] <= 1
  assert [r['evaluated'] for r in records] == [12, 24, 36, 48]


def test_without_a_rank_they_are_evaluated_as_they_come(market):
  plain = random_search.make(config_of(rank='none'), market)
  state, metrics = plain.step(plain.init(jax.random.key(0)), jax.random.key(1))
  assert 'foreseen_rank' not in metrics and len(state.mined.book) == COUNT


def test_strong_ones_of_the_whole_archive_are_landmarks():
  strength = np.random.default_rng(0).random(3000)
  pool = np.array([5, 17])
  places = surrogate._landmarks(strength, pool)
  assert len(places) == surrogate.LANDMARKS and {5, 17} <= set(places.tolist())
  strongest = np.argsort(-strength)[: surrogate.LANDMARKS // 2]
  assert set(strongest.tolist()) <= set(places.tolist())
  assert np.diff(places).max() < 60
  few = surrogate._landmarks(strength[:50], pool)
  np.testing.assert_array_equal(few, np.arange(50))


def test_saved_and_loaded_it_goes_on_with_the_same_bits(method, steps):
  states, _ = steps
  again = method.load(*method.save(states[-2]))
  one, _ = method.step(states[-2], jax.random.key(9))
  other, _ = method.step(again, jax.random.key(9))
  assert list(one.mined.book.items()) == list(other.mined.book.items())


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'rank': 'best'}, "config.screen.rank is 'best'"),
    ({'twin': 0.0}, 'set config.screen.twin, such as 0.99'),
    ({'candidates': 0}, 'config.screen.candidates is 0: expected >= 1'),
    ({'explore': -1.0}, 'config.screen.explore is -1.0: expected >= 0'),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    random_search.make(config_of(**changes), market)
