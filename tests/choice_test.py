"""Pools chosen from memory: what stays of a formula is what it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from alphajax import markets
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.factor import evaluate, metrics, pool_rules
from alphajax.methods import archive, choice, linear, validation
from alphajax.methods import memory as memory_lib
from alphajax.run.clock import Clock

LABEL = LabelSpec(exit=5)


def config_of(**pool):
  config = tiny.get_config('random_search')
  config.pool.rule = 'elastic_net'
  config.pool.penalty = 0.5
  config.pool.days = 10_000  # All of them.
  config.pool.update(pool)
  return config


@pytest.fixture(scope='module')
def market():
  return markets.load_market(config_of())[0]


@pytest.fixture(scope='module')
def bench(market):
  return archive.make_bench(config_of(), market)


@pytest.fixture(scope='module')
def formulas(bench):
  texts = (
    'close/open', 'Mean(volume,5)', 'Std(close,10)/close', 'Log(close*-1)',
    'Delta(vwap,5)/vwap', 'CSRank(volume)', 'Corr(close,volume,10)', 'high/low',
  )  # fmt: skip
  return archive.read(texts, bench.features)


@pytest.fixture(scope='module')
def mined(bench, formulas):
  mined, _ = archive.commit(bench, archive.start(bench), formulas, Clock())
  return mined


def test_daily_correlations_are_the_factors_ic(bench, mined, formulas, market):
  """Exactly where a factor speaks for all who have a label."""
  assert mined.memory.ids == (0, 1, 2, 4, 5, 6, 7)  # The log has no value.
  split = market.train
  values = evaluate.values(formulas, split.panel)
  expected = metrics.daily_ic(
    values, jnp.asarray(split.target), jnp.asarray(split.panel.mask)
  )
  daily = memory_lib.evidence(bench.chooser.recorder, mined.memory).daily
  chosen = np.array(mined.memory.ids)
  labelled = np.asarray(split.panel.mask) & np.isfinite(split.target)
  known = np.isfinite(np.asarray(values)[chosen]) | ~labelled
  whole = known.all(-1) & (labelled == split.panel.mask).all(-1)
  whole = whole[:, split.scored]
  assert whole.mean() > 0.5
  expected = np.asarray(expected)[chosen][:, split.scored]
  np.testing.assert_allclose(daily[whole], expected[whole], atol=1e-5)


def test_products_of_rows_are_mean_correlations(bench, mined):
  evidence = memory_lib.evidence(bench.chooser.recorder, mined.memory)
  whole = pool_rules.gram(evidence, np.arange(len(mined.memory.ids)))
  pool = mined.pool
  held = [i for i in np.asarray(pool.ids).tolist() if i >= 0]
  places = [mined.memory.ids.index(i) for i in held]
  used = np.asarray(pool.ids) >= 0
  mutual = np.asarray(pool.mutual)[used][:, used]
  expected = mutual[..., np.asarray(bench.scored)].mean(-1)
  np.testing.assert_allclose(whole[np.ix_(places, places)], expected, atol=2e-3)


def test_train_ic_of_a_choice_is_that_of_its_signal(bench, mined, market):
  chosen = choice.choose(bench.chooser, mined.memory)
  assert len(chosen.ids) >= 2
  known = list(mined.book)
  formulas = archive.read([known[i] for i in chosen.ids], bench.features)
  found = archive.Found(1, tuple(formulas), chosen.weights)
  daily = linear.daily_ic(found, market.train)
  assert chosen.train_ic == pytest.approx(daily.mean(), abs=1e-3)


def test_what_is_kept_of_a_day_does_not_hang_on_the_days_kept(
  bench, mined, market, formulas
):
  few = archive.make_bench(config_of(days=20), market)
  part, _ = archive.commit(few, archive.start(few), formulas, Clock())
  recorder, whole = few.chooser.recorder, bench.chooser.recorder
  assert len(recorder.days) == 20
  kept = np.searchsorted(whole.days, recorder.days)
  rows = mined.memory.rows[0].reshape(7, len(whole.days), -1)[:, kept]
  np.testing.assert_array_equal(
    rows.reshape(7, -1), np.asarray(part.memory.rows[0])
  )


def test_parts_are_those_of_the_number_of_formulas(monkeypatch):
  """However they came: a run that goes on has them in other groups."""
  monkeypatch.setattr(memory_lib, 'PART', 4)
  facts = [
    memory_lib.Fact(0.1, np.full(2, i, np.float16), np.full(3, i, np.float32))
    for i in range(11)
  ]

  def come(sizes):
    memory, start = memory_lib.Memory(), 0
    for size in sizes:
      ids = range(start, start + size)
      memory = memory_lib.add(memory, ids, facts[start : start + size])
      start += size
    return memory

  whole = come([11])
  for memory in (come([3, 1, 5, 2]), come([4, 4, 3]), come([1] * 11)):
    jax.tree.map(np.testing.assert_array_equal, memory, whole)
  assert [len(part) for part in whole.rows] == [4, 4, 3]
  # The strongest stay, side by side again.
  kept = memory_lib.forget(whole, 6, {0})
  assert kept.ids == (0, 6, 7, 8, 9, 10)
  assert [len(part) for part in kept.rows] == [4, 2]
  assert np.concatenate(kept.daily)[:, 0].tolist() == list(kept.ids)


@pytest.mark.parametrize('name', memory_lib.LABELS)
def test_labels(market, name):
  """Against NumPy, day by day."""
  split = market.train
  label = np.asarray(memory_lib.label_of(name, split, LABEL))
  plain = np.asarray(split.target)
  if name.startswith('half_horizon'):
    plain = np.asarray(panel_lib.forward_return(split.panel, LabelSpec(exit=2)))
  members = np.asarray(split.panel.mask)
  for t in np.flatnonzero(split.scored)[::40]:
    seen = members[t] & np.isfinite(plain[t])
    day = plain[t, seen]
    if name.endswith('rank'):
      ranks = np.argsort(np.argsort(day))  # No ties among returns.
      correlation = np.corrcoef(label[t, seen], ranks)[0, 1]
      assert correlation == pytest.approx(1.0, abs=1e-5)
    elif name == 'winsorised':
      expected = np.clip(day, *np.quantile(day, [0.025, 0.975]))
      np.testing.assert_allclose(label[t, seen], expected, rtol=1e-5)
    else:
      np.testing.assert_array_equal(label[t, seen], day)


def test_several_labels_are_fitted_by_their_mean(market, formulas):
  benches = {
    labels: archive.make_bench(config_of(labels=labels), market)
    for labels in (('plain',), ('rank',), ('plain', 'rank'))
  }
  daily = [
    memory_lib.evidence(
      bench.chooser.recorder,
      archive.commit(bench, archive.start(bench), formulas, Clock())[0].memory,
    ).daily
    for bench in benches.values()
  ]
  np.testing.assert_allclose(daily[2], (daily[0] + daily[1]) / 2, atol=1e-6)
  assert np.abs(daily[0] - daily[1]).max() > 0.01


def test_the_last_choice_is_kept_and_made_when_due(bench, formulas):
  bench = bench._replace(chooser=bench.chooser._replace(every=2, last=5))
  mined, sizes = archive.start(bench), []
  for formula in formulas[:6]:
    mined, _ = archive.commit(bench, mined, [formula], Clock())
    mined, figures = validation.validate(bench, mined, Clock())
    sizes.append(mined.found.iteration)
    assert figures['pool_size'] == len(mined.found.formulas)
    # Before there is a choice nothing is known of it.
    known = mined.ics if mined.found.iteration else (None, None)
    assert (figures['train_ic'], figures['valid_ic']) == known
  # The first as soon as there can be one.
  assert sizes == [1, 2, 2, 4, 5, 6]
  assert figures['best_valid_ic'] >= figures['valid_ic']


def test_a_pool_of_any_size_has_the_signal_of_its_parts(market, formulas):
  """In chunks as at once."""
  panel = market.valid.panel
  members = jnp.asarray(panel.mask)
  rng = np.random.default_rng(0)
  weights = rng.normal(size=(4, len(formulas))).astype(np.float32)
  weights[1, 2:] = 0.0
  weights[2:] = 0.0  # One has no value at all, one not on all days.
  weights[2, 3] = weights[3, 6] = 1.0
  store = evaluate.make_store(panel)
  whole = [linear.combine(store, formulas, row, members) for row in weights]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(linear, 'CHUNK', 3)
    parts = linear.combine_each(store, formulas, weights, members)
    alone = linear.combine(store, formulas, weights[0], members)
  for a, b in zip([*whole, whole[0]], [*parts, alone], strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  missing = [int(np.isnan(each).sum()) for each in parts]
  assert missing[0] < missing[3] < missing[2] == members.size


def test_saved_and_loaded_it_chooses_the_same(bench, mined):
  mined, _ = validation.validate(bench, mined, Clock())
  arrays, host = archive.save(mined)
  again = archive.load(bench, jax.device_get(arrays), host)
  assert again.memory.ids == mined.memory.ids and again.ics == mined.ics
  for a, b in zip(again.memory, mined.memory, strict=True):
    np.testing.assert_array_equal(np.concatenate([a]), np.concatenate([b]))
  assert choice.choose(bench.chooser, again.memory) == choice.choose(
    bench.chooser, mined.memory
  )


def test_the_weakest_are_forgotten(bench, mined, formulas):
  bounded = bench._replace(keep=5, capacity=2)
  kept, _ = archive.commit(bounded, archive.start(bounded), formulas, Clock())
  strength = {
    i: abs(series.mean())
    for i, series in zip(
      mined.memory.ids, np.concatenate(mined.memory.daily), strict=True
    )
  }
  pool = {int(i) for i in np.asarray(kept.pool.ids) if i >= 0}
  others = sorted(set(strength) - pool, key=lambda i: -strength[i])
  assert kept.memory.ids == tuple(sorted([*pool, *others[: 5 - len(pool)]]))
  rows = dict(
    zip(mined.memory.ids, np.concatenate(mined.memory.rows), strict=True)
  )
  np.testing.assert_array_equal(
    np.concatenate(kept.memory.rows), [rows[i] for i in kept.memory.ids]
  )
  _, figures = validation.validate(bounded, kept, Clock())
  assert figures['forgotten'] == 2 and figures['valued'] == 7
  # A run that goes on remembers the same ones.
  arrays, host = archive.save(kept)
  again = archive.load(bounded, jax.device_get(arrays), host)
  assert again.memory.ids == kept.memory.ids
  for a, b in zip(again.memory[1:], kept.memory[1:], strict=True):
    np.testing.assert_array_equal(np.concatenate(a), np.concatenate(b))
  with pytest.raises(ValueError, match='keep is 1: the pools alone hold 2'):
    memory_lib.forget(mined.memory, 1, pool)


@pytest.mark.parametrize(
  'changes, message',
  [
    (
      {'rule': 'ridge_net'},
      "rule is 'ridge_net': expected one of algorithm1, elastic_net, ",
    ),
    ({'rule': 'average'}, "rule is 'average': .*configs/ensemble.py does"),
    ({'accept': 'x', 'rule': 'algorithm1'}, "config.pool.accept is 'x'"),
    ({'weighting': 'x', 'rule': 'algorithm1'}, "config.pool.weighting is 'x'"),
    ({'labels': ('x',), 'rule': 'algorithm1'}, 'config.pool.labels is '),
    ({'every': 0}, 'config.pool.every is 0: expected >= 1'),
    ({'penalty': -1.0}, r'config.pool.penalty is -1.0: expected >= 0'),
    ({'max_corr': 0.0}, 'config.pool.max_corr is 0.0: expected > 0'),
    ({'weighting': 'best'}, "config.pool.weighting is 'best'"),
    ({'labels': ('cubed',)}, r"config.pool.labels is \('cubed',\)"),
    ({'days': 0}, 'config.pool.days is 0'),
    ({'keep': -1}, 'config.pool.keep is -1: expected >= 0'),
  ],
)
def test_bad_options(market, changes, message):
  with pytest.raises(ValueError, match=message):
    archive.make_bench(config_of(**changes), market)


def test_a_rule_with_options_of_its_own():
  options = pool_rules.Options()
  rule, changed = choice.parse('distilled@capacity=20@penalty=1.5', options)
  assert rule is pool_rules.distilled
  assert (changed.capacity, changed.penalty) == (20, 1.5)
  path = 'alphajax.factor.pool_rules.lasso_rule'
  assert choice.parse(f'{path}@penalty=2', options) == (
    pool_rules.lasso_rule, options._replace(penalty=2.0)
  )  # fmt: skip
  for text, message in (
    ('nothing', "--rules is 'nothing': expected one of algorithm1"),
    ('algorithm1@capacity=3', '--config.pool.capacity=20'),
    ('distilled@capacity=0', "capacity=0': capacity is 0: expected >= 1"),
    ('bagged@bags=0', 'bags is 0: expected >= 1'),
    ('elastic_net@penalty=nan', 'penalty is nan: expected >= 0'),
    ('elastic_net@ridge=-1', 'ridge is -1.0: expected >= 0'),
    ('best_distinct@max_corr=2', 'max_corr is 2.0: expected > 0 and <= 1'),
    ('best_distinct@weighting=foo', "weighting is 'foo': expected one of"),
    ('lasso@size=3', 'an option being one of capacity'),
    ('lasso@capacity=many', "'many' is no int"),
  ):
    with pytest.raises(ValueError, match=message):
      choice.parse(text, options)


@pytest.mark.parametrize(
  ('given', 'said'),
  [
    (np.ones(2), r'float64\[2\]: expected weights f64'),
    (None, r'object\[\]: expected weights'),
    ('nan', '1 of .* formulas a weight that is not finite'),
  ],
)
def test_weights_of_a_rule_of_ones_own_that_cannot_be(
  bench, mined, given, said
):
  def rule(evidence, options, seed):
    if not isinstance(given, str):
      return given
    return np.where(np.arange(len(evidence.daily)) == 0, np.nan, 1.0)

  chooser = bench.chooser._replace(rule=rule)
  with pytest.raises(ValueError, match=said):
    choice.choose(chooser, mined.memory)
