"""What mining methods share: the book, the outcomes, the best pool."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax import experiment, markets
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate, metrics
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.methods import (
  archive,
  linear,
  random_search,
  stopping,
  validation,
)
from alphajax.methods.base import Found
from alphajax.run.clock import Clock

GRAMMAR = grammar_lib.make(
  max_length=4, windows=(5, 10), operators=tiny.OPERATORS
)


@pytest.fixture(scope='module')
def market():
  return markets.load_market(tiny.get_config('random_search'))[0]


@pytest.fixture(scope='module')
def bench(market):
  return archive.make_bench(tiny.get_config('random_search'), market)


def parse(*texts):
  return [formula_lib.parse(text) for text in texts]


def draw(seed, count):
  """Different formulas."""
  found = {}
  for formula in grammar_lib.random_formulas(
    GRAMMAR, jax.random.key(seed), 4 * count
  ):
    found.setdefault(formula_lib.key(formula), formula)
  return list(found.values())[:count]


def commit(bench, mined, formulas):
  return archive.commit(bench, mined, formulas, Clock())


def validate(bench, mined):
  return validation.validate(bench, mined, Clock())


def bits(tree):
  return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def pool_keys(bench, mined):
  return [formula_lib.key(f) for f in archive.members(bench, mined)[0]]


def pool_ic(bench, mined):
  return float(archive.mean_ic(mined.pool, bench.scored))


def test_duplicates_cost_no_evaluation_and_leave_the_pool(bench, monkeypatch):
  taken = []
  take = evaluate.Store.take

  def spy(store, formulas):
    taken.extend(map(formula_lib.key, formulas))
    return take(store, formulas)

  monkeypatch.setattr(evaluate.Store, 'take', spy)
  first = parse('Corr(close,volume,10)', 'open/high+low', 'close/low')
  twins = parse('Corr(volume,close,10)', 'low+open/high', 'close/low')
  mined, _ = commit(bench, archive.start(bench), [*first, twins[1]])
  assert taken == [formula_lib.key(formula) for formula in first]
  del taken[:]
  again, outcomes = commit(bench, mined, twins)
  assert taken == []
  assert bits(again.pool) == bits(mined.pool) and again.book == mined.book
  assert (again.proposed, again.iteration) == (7, 2)
  for formula, outcome in zip(twins, outcomes, strict=True):
    assert outcome.ic == pool_ic(bench, mined) and outcome.gain == 0
    assert outcome.own_ic == mined.book[formula_lib.key(formula)]


def test_a_batch_is_one_formula_after_the_other(bench):
  # More than a chunk, with duplicates and valueless ones among them.
  formulas = draw(0, archive.CHUNK + 8)
  formulas[5:5] = parse('Abs(close)/close', 'Log(close*-1)')
  formulas[20:20] = [formulas[3], formulas[8]]
  batch, outcomes = commit(bench, archive.start(bench), formulas)
  mined = archive.start(bench)
  for formula, outcome in zip(formulas, outcomes, strict=True):
    before, ic_before = pool_keys(bench, mined), pool_ic(bench, mined)
    mined, (alone,) = commit(bench, mined, [formula])
    assert [formula_lib.key(f) for f in outcome.pool_before] == before
    assert alone.pool_before == outcome.pool_before
    assert outcome.ic == pytest.approx(alone.ic, abs=1e-5)
    assert outcome.own_ic == pytest.approx(alone.own_ic, abs=1e-6)
    gain = pool_ic(bench, mined) - ic_before
    assert outcome.gain == pytest.approx(gain, abs=1e-5)
    if mined.book[formula_lib.key(formula)] is not None:
      assert alone.ic == pytest.approx(pool_ic(bench, mined), abs=1e-6)
  assert pool_keys(bench, batch) == pool_keys(bench, mined)
  assert list(batch.book) == list(mined.book)


def test_own_ic_is_that_of_the_factor(bench, market):
  formulas = draw(3, 12)
  mined, outcomes = commit(bench, archive.start(bench), formulas)
  values = evaluate.values(formulas, market.train.panel)
  daily = metrics.daily_ic(
    values, jnp.asarray(market.train.target), market.train.panel.mask
  )
  expected = np.asarray(daily)[:, market.train.scored].mean(axis=1)
  for formula, outcome, ic in zip(formulas, outcomes, expected, strict=True):
    known = mined.book[formula_lib.key(formula)]
    assert outcome.own_ic == (0.0 if known is None else known)
    assert outcome.own_ic == pytest.approx(ic, abs=1e-6)


@pytest.mark.parametrize('text', ['Abs(close)/close', 'Log(close*-1)', '0.1'])
def test_a_formula_without_value_enters_no_pool(bench, text):
  mined, _ = commit(bench, archive.start(bench), draw(1, 5))
  after, (outcome,) = commit(bench, mined, parse(text))
  assert (outcome.ic, outcome.own_ic) == (0.0, 0.0)
  assert [formula_lib.key(f) for f in outcome.pool_before] == pool_keys(
    bench, mined
  )
  assert bits(after.pool) == bits(mined.pool)
  assert after.book[text if text == '0.1' else list(after.book)[-1]] is None
  _, counts = validate(bench, after)
  assert counts['evaluated'] == counts['valued'] + 1 == 6
  # Known now: not evaluated again.
  assert commit(bench, after, parse(text))[0].book == after.book


def test_a_pool_of_valueless_formulas_is_no_pool(bench):
  mined, _ = commit(bench, archive.start(bench), parse('Log(close*-1)'))
  mined, counts = validate(bench, mined)
  assert mined.found.iteration == 0 and counts['best_valid_ic'] is None
  assert (counts['train_ic'], counts['valid_ic']) == (0.0, 0.0)
  assert counts['pool_size'] == 0
  with pytest.raises(ValueError, match='no pool yet'):
    linear.predict(archive.found(mined), None)


def test_a_pool_that_the_penalty_empties_is_no_pool(market):
  config = tiny.get_config('random_search')
  config.pool.l1 = 10.0
  bench = archive.make_bench(config, market)
  mined, _ = commit(bench, archive.start(bench), draw(1, 5))
  mined, counts = validate(bench, mined)
  assert counts['pool_size'] > 0 and counts['valid_ic'] == 0.0
  assert mined.found.iteration == 0 and mined.found.formulas == ()


def test_the_best_pool_by_validation_is_kept(bench):
  mined, seen, kept_at = archive.start(bench), [], set()
  for seed in range(12):
    mined, _ = commit(bench, mined, draw(seed, 2))
    formulas, weights = archive.members(bench, mined)
    mined, counts = validate(bench, mined)
    seen.append((counts['valid_ic'], formulas, weights))
    ics = [ic for ic, _, _ in seen]
    best = int(np.argmax(ics))
    _, formulas, weights = seen[best]
    assert mined.found.iteration == best + 1
    assert mined.best_valid_ic == counts['best_valid_ic'] == ics[best]
    kept = [pair for pair in zip(formulas, weights, strict=True) if pair[1]]
    assert list(zip(*mined.found[1:], strict=True)) == kept
    kept_at.add(mined.found.iteration)
  assert 1 < len(kept_at) < 12  # It neither stuck nor just followed.


def test_nothing_is_proposed_beside_the_pool_of_the_first_iteration(bench):
  mined = archive.start(bench)
  close = formula_lib.parse('close')

  def pool_of(iteration, chooser):
    found = Found(iteration, (close,), (0.5,))
    return archive.beside(
      bench._replace(chooser=chooser), mined._replace(found=found)
    )

  by_rule = object()
  assert pool_of(1, by_rule) == ([], [])
  assert pool_of(2, by_rule) == ([close], [0.5])
  # Of Algorithm 1 the formulas that are in the pool now: here there are none.
  assert pool_of(2, None) == ([], [])


def test_validation_ic_is_that_of_the_prediction(bench, market):
  mined, _ = commit(bench, archive.start(bench), draw(4, 10))
  mined, counts = validate(bench, mined)
  valid = market.valid
  signal = linear.predict(mined.found, valid.panel)
  daily = metrics.daily_ic(
    signal, jnp.asarray(valid.target), jnp.asarray(valid.panel.mask)
  )
  assert counts['valid_ic'] == pytest.approx(
    float(np.asarray(daily)[valid.scored].mean()), abs=1e-6
  )


def test_prediction_is_the_weighted_sum_on_any_panel(bench, market):
  mined, _ = commit(bench, archive.start(bench), draw(4, 10))
  mined, _ = validate(bench, mined)
  panel = market.valid.panel
  padded = panel_lib.pad_stocks(panel, 40)
  signal = np.asarray(linear.predict(mined.found, padded))
  members = np.asarray(panel.mask)
  assert np.isnan(signal[:, members.shape[1] :]).all()
  signal = signal[:, : members.shape[1]]
  total, heard = np.zeros(members.shape), np.zeros(members.shape, bool)
  for formula, weight in zip(*mined.found[1:], strict=True):
    value = np.array(evaluate.compile(formula)(panel), np.float64)
    value[~members] = np.nan
    heard |= np.isfinite(value)
    for t, day in enumerate(value):
      known = np.isfinite(day)
      if known.sum() >= 0.5 * members[t].sum() and np.nanstd(day) > 0:
        z = (day - np.nanmean(day)) / np.nanstd(day)
        total[t] += weight * np.where(known, z, 0.0)
  # Nothing is said before the pool can look back, nor where no factor speaks.
  heard[: max(map(formula_lib.lookback, mined.found.formulas))] = False
  assert 0.5 < heard.sum() / members.sum() < 1
  np.testing.assert_array_equal(np.isfinite(signal), heard)
  np.testing.assert_allclose(signal[heard], total[heard], atol=2e-4)


def test_saved_and_loaded_it_goes_on_with_the_same_bits(bench):
  mined, _ = commit(bench, archive.start(bench), draw(5, 20))
  mined, _ = validate(bench, mined)
  mined, _ = commit(bench, mined, [*draw(6, 5), *parse('Log(close*-1)')])
  arrays, host = archive.save(mined)
  host = json.loads(json.dumps(host))
  loaded = archive.load(bench, arrays, host)
  assert bits(loaded.pool) == bits(mined.pool)
  assert loaded._replace(pool=None) == mined._replace(pool=None)
  ends = []
  for state in (mined, loaded):
    state, outcomes = commit(bench, state, draw(7, 20))
    state, counts = validate(bench, state)
    ends.append((bits(state.pool), state._replace(pool=None), outcomes, counts))
  assert ends[0] == ends[1]


def test_an_empty_state_is_saved_and_loaded(bench):
  arrays, host = archive.save(archive.start(bench))
  loaded = archive.load(bench, arrays, json.loads(json.dumps(host)))
  assert bits(loaded.pool) == bits(archive.start(bench).pool)
  assert loaded.best_valid_ic == float('-inf') and loaded.found.iteration == 0


@pytest.mark.parametrize(
  'iteration, found, said',
  [(10, 8, None), (10, 7, 'for 3 iterations'), (3, 0, 'for 3 iterations')],
)
def test_stops_without_a_better_pool(bench, iteration, found, said):
  config = tiny.get_config('random_search')
  config.num_iterations, config.early_stop = 10, 0.3
  start = archive.start(bench)
  mined = start._replace(
    iteration=iteration, found=start.found._replace(iteration=found)
  )
  reason = stopping.finished(config, mined)
  assert reason is None if said is None else said in reason
  config.early_stop = 0.0  # Never.
  assert stopping.finished(config, mined) is None


def test_random_search_evaluates_exactly_the_budget(market):
  config = tiny.get_config('random_search')
  config.max_evaluated = 2 * config.num_trajectories + 1
  method = experiment.make_method(config, market)
  state, counts = method.init(jax.random.key(0)), []
  for iteration in range(3):
    assert method.finished(state) is None
    state, metrics_ = method.step(state, jax.random.key(iteration))
    counts.append(metrics_['evaluated'])
  assert counts == [config.num_trajectories, 2 * config.num_trajectories, 13]
  assert '13 formulas evaluated' in method.finished(state)


def test_random_search_ends_when_the_language_is_exhausted(market):
  config = tiny.get_config('random_search')
  config.language.max_length = 0  # Six features, and nothing else.
  config.lookback = 20
  config.num_trajectories = 10
  method = random_search.make(config, market)  # No command takes this length.
  state, counts = method.step(method.init(jax.random.key(0)), jax.random.key(0))
  assert counts['evaluated'] == 6 and counts['pool_size'] == 3
  state, counts = method.step(state, jax.random.key(1))
  assert counts['evaluated'] == 6
