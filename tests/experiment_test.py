"""From a config to splits, hashes and the figures of a result."""

import functools
import json
import re
import sys
import types

import jax
import numpy as np
import oracle
import pytest
import tiny
from ml_collections import config_dict

from alphajax import cli, ending, experiment, markets
from alphajax.configs import alphacfg
from alphajax.data import panel as panel_lib
from alphajax.judge import result
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.methods import linear, screen
from alphajax.methods.base import Found, Method
from alphajax.run import config as config_lib
from alphajax.run import ranges
from alphajax.search import chunks

FOUND = Found(
  4,
  tuple(
    formula_lib.parse(text)
    for text in ('Std(close,10)/close', 'Corr(close,volume,10)', '-CSRank(low)')
  ),
  (0.5, -0.25, 1.0),
)

PREDICT = functools.partial(linear.predict, FOUND)


@pytest.fixture(scope='module')
def config():
  return tiny.get_config('random_search')


@pytest.fixture(scope='module')
def market(config):
  return markets.load_market(config)[0]


def test_splits_are_those_of_the_config(config, market):
  for split in market:
    start, end = config.splits[split.name]
    dates = np.array(split.panel.dates)
    assert start <= dates[split.scored][0]
    # The last `exit` days are purged: their labels would read what follows.
    inside = np.flatnonzero(dates <= end)
    assert split.scored[inside[-1] - config.label.exit]
    assert not split.scored[inside[-1] - config.label.exit + 1 :].any()
  assert max(market.valid.panel.dates) <= config.splits.valid[1]
  test = markets.load_split(config, 'test')
  dates = np.array(test.panel.dates)[test.scored]
  assert config.splits.test[0] <= dates[0] <= dates[-1] <= config.splits.test[1]


@pytest.mark.parametrize(
  'change, is_same',
  [
    ({'seed': 5, 'pool.capacity': 2, 'language.constants': (0.1,)}, True),
    ({'label.exit': 4}, False),
    ({'label.price': 'vwap'}, False),
    ({'splits.valid': ('2010-09-01', '2010-10-01')}, False),
    ({'data.simulate.seed': 1}, False),
    ({'lookback': 40}, False),
    ({'language.windows': (5,)}, False),  # By the look-back.
    ({'language.features': ('close', 'industry')}, False),
  ],
)
def test_configs_alike_have_one_market(config, change, is_same):
  other = config.copy_and_resolve_references()
  other.update_from_flattened_dict(change)
  same = markets.market_key(config) == markets.market_key(other)
  assert same == is_same


def test_the_last_markets_are_shared(config, monkeypatch):
  loaded = []

  def load(config):
    loaded.append(config.label.exit)
    return object(), 'hash'

  monkeypatch.setattr(markets, 'load_market', load)
  load = markets.sharing_market(size=2)

  def get(exit_):
    other = config.copy_and_resolve_references()
    other.label.exit = exit_
    return load(other)

  first = get(1)
  assert get(2) is not first and get(1) is first
  assert loaded == [1, 2]
  get(3)  # In place of 2, which was not taken the longest.
  assert get(1) is first and loaded == [1, 2, 3]
  get(2)
  assert loaded == [1, 2, 3, 2]


def test_look_back_is_what_the_language_needs_or_the_config_says(config):
  config = config.copy_and_resolve_references()
  grammar = grammar_lib.make(**config.language)
  needed = markets.lookback(config)
  formulas = grammar_lib.random_formulas(grammar, jax.random.key(0), 200)
  assert max(map(formula_lib.lookback, formulas)) <= needed
  config.lookback = 77
  assert markets.lookback(config) == 77


def test_the_hash_follows_the_data_and_nothing_else(config, tmp_path):
  hashes = {markets.data_hash(config)}
  for key, value in (('seed', 9), ('strength', 0.01), ('num_days', 301)):
    other = config.copy_and_resolve_references()
    other.data.simulate[key] = value
    hashes.add(markets.data_hash(other))
  same = config.copy_and_resolve_references()
  same.seed, same.splits.test = 5, ('2030-01-01', '2031-01-01')
  hashes.add(markets.data_hash(same))
  assert len(hashes) == 4
  same.data.path = str(tmp_path / 'prices.csv')
  (tmp_path / 'prices.csv').write_text('date\n')
  hashes.add(markets.data_hash(same))
  (tmp_path / 'prices.csv').write_text('dates\n')
  hashes.add(markets.data_hash(same))
  assert len(hashes) == 6


def units(values, members, labelled):
  """Days standardised over members, 0 without a value; float64 loops."""
  out = np.zeros(values.shape)
  for t, day in enumerate(values):
    known = members[t] & np.isfinite(day)
    needed = 0.5 * labelled[t].sum()
    if (known & labelled[t]).sum() >= needed and np.std(day[known]) > 0:
      out[t, known] = (day[known] - day[known].mean()) / day[known].std()
  return out


@pytest.fixture(scope='module')
def expected(market):
  """Signal and factors of FOUND on validation, by the oracle."""
  split = market.valid
  panel = split.panel
  members = np.asarray(panel.mask)
  features = dict(
    zip(panel.feature_names, np.asarray(panel.features), strict=True)
  )
  labelled = members & np.isfinite(np.asarray(split.target))
  factors = [oracle.evaluate(f, features, members) for f in FOUND.formulas]
  signal = sum(
    weight * units(values, members, labelled)
    for weight, values in zip(FOUND.weights, factors, strict=True)
  )
  return np.where(members, signal, np.nan), factors


def test_figures_are_those_of_the_oracle(config, market, expected):
  split, label = market.valid, panel_lib.LabelSpec(**config.label)
  part = result.describe(PREDICT, FOUND.formulas, split, label)
  members, target = np.asarray(split.panel.mask), np.asarray(split.target)
  series = part['series']
  assert list(series['dates']) == [
    d for d, s in zip(split.panel.dates, split.scored, strict=True) if s
  ]
  signal, factors = expected
  for name, metric in (
    ('ic', oracle.daily_ic),
    ('rank_ic', oracle.daily_rank_ic),
  ):
    daily = metric(signal, target, members)[split.scored]
    np.testing.assert_allclose(series[name], daily, atol=2e-4)
    mean = part['pool'][name]['mean']
    assert mean == pytest.approx(daily.mean(), abs=1e-5)
    assert part['pool'][name]['low'] < mean < part['pool'][name]['high']
    ratio = part['pool'][{'ic': 'icir', 'rank_ic': 'rank_icir'}[name]]
    assert ratio == pytest.approx(daily.mean() / daily.std(), abs=1e-3)
  for n, values in enumerate(factors):
    daily = oracle.daily_ic(values, target, members)[split.scored]
    np.testing.assert_allclose(series['factor_ic'][n], daily, atol=2e-4)
    assert part['factors'][n]['ic']['mean'] == pytest.approx(
      daily.mean(), abs=1e-5
    )


def test_correlations_are_those_of_the_days(config, market, expected):
  split, label = market.valid, panel_lib.LabelSpec(**config.label)
  series = result.describe(PREDICT, FOUND.formulas, split, label)['series']
  members = np.asarray(split.panel.mask)
  labelled = members & np.isfinite(np.asarray(split.target))
  factors = [units(values, members, labelled) for values in expected[1]]
  days = []
  for t in np.flatnonzero(split.scored):
    z = np.stack([factor[t, labelled[t]] for factor in factors])
    z -= z.mean(axis=1, keepdims=True)
    lengths = np.sqrt((z * z).sum(axis=1, keepdims=True))
    z = np.divide(z, lengths, out=np.zeros(z.shape), where=lengths > 0)
    days.append(z @ z.T)
  mean = np.mean(days, axis=0)
  np.testing.assert_allclose(series['correlation'], mean, atol=1e-4)


def test_what_is_lost_to_float32_is_said_of_each_factor(config, market):
  """On scored days only; a volume to the tenth is beyond 3.4e38."""
  texts = ('Mean(close,5)', 'Pow(volume,10)')
  formulas = tuple(map(formula_lib.parse, texts))
  split, label = market.valid, panel_lib.LabelSpec(**config.label)
  found = result.describe(PREDICT, formulas, split, label)['factors']
  members = np.asarray(split.panel.mask)[split.scored]
  volume = panel_lib.feature(split.panel, 'volume')[split.scored]
  exact = volume[members].astype(np.float64) ** 10
  expected = np.mean(exact > np.finfo(np.float32).max)
  assert found[0]['lost'] == 0 and 0.9 < expected <= 1
  assert found[1]['lost'] == pytest.approx(expected, abs=1e-6)


def test_summary_is_json_and_names_the_planted_ceiling(config, market):
  summary, daily = experiment.summarize(config, FOUND, PREDICT, market)
  assert json.loads(json.dumps(summary)) == summary
  assert summary['iteration'] == 4
  assert [f['weight'] for f in summary['factors']] == list(FOUND.weights)
  assert [formula_lib.parse(f['formula']) for f in summary['factors']] == list(
    FOUND.formulas
  )
  for split in market:
    assert summary['ceiling'][split.name] > 0.02
    assert len(daily[f'ic_{split.name}']) == split.scored.sum()


def test_nothing_planted_has_no_ceiling(config, market):
  config = config.copy_and_resolve_references()
  config.data.simulate.strength = 0.0
  assert markets.ceiling(config, market.train) is None
  config.data.path = 'prices.csv'
  config.data.simulate.strength = 0.05
  assert markets.ceiling(config, market.train) is None


@pytest.mark.parametrize(
  'splits, message',
  [
    ({'valid': 'train'}, 'config.splits.valid begins .*splits.train ends'),
    ({'test': 'valid'}, 'config.splits.test begins .*splits.valid ends'),
    ({'train': 'test', 'test': 'train'}, 'config.splits.valid begins'),
  ],
)
def test_overlapping_splits_are_refused(config, splits, message):
  other = config.copy_and_resolve_references()
  for name, of in splits.items():
    other.splits[name] = config.splits[of]
  with pytest.raises(ValueError, match=message):
    markets.load_market(other)


@pytest.mark.parametrize(
  'days', [('2010-01-04',), (), '2010-01-04', ('2010', '2011'), (2010, 2011)]
)
def test_a_split_is_two_days(days):
  config = config_dict.ConfigDict(tiny.get_config().to_dict())
  config.splits = {**config.splits.to_dict(), 'train': days}
  with pytest.raises(ValueError, match='config.splits.train is .*--config'):
    markets.check_splits(config)


def test_splits_beyond_a_simulated_market_say_which_keys_to_set():
  config = config_dict.ConfigDict(tiny.get_config().to_dict())
  config.data.simulate.num_days = 100
  with pytest.raises(
    ValueError, match=r'(?s)lies outside.*config.data.simulate.num_days is 100'
  ) as error:
    markets.load_market(config)
  # What it says to type is a value that the key takes, within the data.
  typed = str(error.value).rpartition('--config.')[2]
  key, _, value = typed.partition('=')
  days = cli.read_config(f'{tiny.__file__}:random_search', [
    f'{key}={value.strip(chr(34))}'
  ]).splits[key.removeprefix('splits.')]  # fmt: skip
  assert days[1] == markets.simulated(config).panel.dates[-1]


@pytest.mark.parametrize(
  'key, value, expected',
  [
    ('lookback', -3, '>= 0'), ('language.max_length', 0, '>= 1'),
    ('pool.l1', -1.0, '>= 0'), ('pool.l1', float('nan'), '>= 0'),
    ('early_stop', -1.0, '>= 0'), ('num_trajectories', 0, '>= 1'),
    ('num_iterations', 0, '>= 1'),
    ('search.dirichlet_fraction', 1.5, '>= 0 and <= 1'),
    ('network.dropout', 1.0, '>= 0 and < 1'),
    ('training.learning_rate', 0.0, '> 0'), ('mesh.devices', -1, '>= 0'),
    ('mesh.stocks', -1, '>= 0'),
  ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused_early(key, value, expected):
  config = tiny.get_config()
  ranges.check(config)
  config.update_from_flattened_dict({key: value})
  message = re.escape(f'config.{key} is {value}: expected {expected}')
  with pytest.raises(ValueError, match=f'{message}$'):
    experiment.check_start(config)
  with pytest.raises(ValueError, match=message):
    experiment.make_method(config, None)


@pytest.mark.parametrize(
  'key, value, message',
  [
    ('screen.explore', float('nan'), 'config.screen.explore is nan: '),
    ('backtest.slippage', float('nan'), 'config.backtest.slippage is nan: '),
    ('language.constants', (float('nan'),), 'config.language.constants is nan'),
    ('screen.twin', 1.5, 'config.screen.twin is 1.5: '),
    ('screen.rank', 'zzz', "config.screen.rank is 'zzz': expected one of"),
    ('pool.accept', 'x', "config.pool.accept is 'x': expected one of"),
  ],
)
def test_values_that_nothing_could_read_are_refused_early(key, value, message):
  config = tiny.get_config()
  config.update_from_flattened_dict({key: value})
  with pytest.raises(ValueError, match=message):
    experiment.check_start(config)


def test_a_screen_without_effect_is_said():
  config = tiny.get_config()
  assert screen.without_effect(config) == []
  config.screen.twin = 0.99
  (twin,) = screen.without_effect(config)
  assert twin.startswith('config.screen.twin = 0.99 changes nothing of alpha')
  config.screen.rank = 'ic'  # By which it looks through the screen.
  assert screen.without_effect(config) == []
  config.method = 'gp'
  twin, rank = screen.without_effect(config)
  assert rank.endswith('it is read by alphacfg, evolution, random_search')
  config.prior = {}  # Which looks through it, too.
  config.method, config.screen.rank = 'alphacfg', 'none'
  assert screen.without_effect(config) == []


def test_learning_that_is_not_dealt_is_said(monkeypatch):
  config = tiny.get_config()
  assert experiment.notes(config, ()) == []
  config.mesh.learning = True
  (here,) = experiment.notes(config, ())
  assert here.startswith('config.mesh.learning = True changes nothing here: ')
  monkeypatch.setattr(chunks, 'make_mesh', lambda size, devices: 'two of them')
  assert experiment.notes(config, ()) == []
  config.method = 'gp'
  (never,) = experiment.notes(config, ())
  assert never.endswith('nothing of gp: it is read by alphacfg')


def test_a_warm_up_too_short_for_the_language_is_said():
  config = tiny.get_config('random_search')
  needed = markets.lookback(config)
  for lookback, count in ((0, 0), (needed, 0), (needed - 1, 1)):
    config.lookback = lookback
    said = experiment.notes(config, ())
    assert len(said) == count
  assert f'look back {needed} bars at most' in said[0]
  config.method = 'linear'  # What it reads says how far it looks.
  assert experiment.notes(config, ()) == []


def test_what_of_a_library_is_left_out_is_said():
  config = cli.read_config('published:simulated', ['published.name=alpha101'])
  (said,) = experiment.notes(config, ())
  assert said.startswith('alpha101: 19 of 101 formulas are left out, for what')
  assert 'market_cap (1)' in said
  config.published.name = 'table9'
  assert experiment.notes(config, ()) == []


def test_why_there_is_no_pool():
  config = tiny.get_config('random_search')
  split = markets.load_market(config)[0].train

  def why(split, **record):
    return ending.why_no_pool(config, 'run', split, record)

  found = {'evaluated': 9, 'valued': 4}
  constant = split.replace(target=np.zeros_like(split.target))
  assert 'on no day do the returns' in why(constant, **found)
  assert 'all are constant' in why(split, evaluated=0, valued=0, dead=7)
  assert 'of 9 formulas evaluated none' in why(split, evaluated=9, valued=0)
  config.pool.l1 = 8.0
  assert 'Try a smaller --config.pool.l1, such as 2;' in why(split, **found)
  config.pool.rule = 'bagged'
  assert 'bagged gave none of 4 formulas a weight, for' in why(split, **found)
  assert why(split, some_loss=1.0) == 'No pool was found.'


def test_the_ranges_are_of_keys_that_there_are():
  found = alphacfg.get_config()
  keys = config_lib.flatten(found.to_dict())
  assert set(ranges.RANGES) <= set(keys)


def test_splits_that_touch_are_refused_on_the_common_day(config):
  other = config.copy_and_resolve_references()
  start, end = config.splits.valid
  other.splits.valid = (config.splits.train[1], end)
  with pytest.raises(ValueError, match='let valid begin after it'):
    markets.load_market(other)


@pytest.mark.parametrize(
  ('functions', 'said'),
  [
    ({}, 'that module has no make, and needs make'),
    ({'make': lambda config, market: None}, 'gave NoneType: expected'),
    (
      {'make': None, 'lookback': lambda config: 2.5},
      r'lookback\(config\) is 2.5: expected a whole number',
    ),
  ],
)
def test_a_method_of_ones_own_that_cannot_be(
  config, monkeypatch, functions, said
):
  module = types.ModuleType('my_methods.mine')
  vars(module).update(functions)
  monkeypatch.setitem(sys.modules, 'my_methods', types.ModuleType('my_methods'))
  monkeypatch.setitem(sys.modules, 'my_methods.mine', module)
  other = config.copy_and_resolve_references()
  other.method = 'my_methods.mine'
  with pytest.raises(ValueError, match=said):
    markets.lookback(other)
    experiment.make_method(other, None)


@pytest.mark.parametrize(
  ('given', 'said'),
  [
    ('state', 'gave str: expected the pair'),
    ((1, 2, 3), 'gave 3 values: expected the pair'),
    ((1, 2), 'gave a pair of which the second is int: expected the pair'),
  ],
)
def test_a_method_of_ones_own_that_gives_no_pair(
  config, monkeypatch, given, said
):
  module = types.ModuleType('my_methods.mine')
  functions = {name: lambda *args: given for name in Method._fields}
  module.make = lambda config, market: Method(**functions)
  monkeypatch.setitem(sys.modules, 'my_methods', types.ModuleType('my_methods'))
  monkeypatch.setitem(sys.modules, 'my_methods.mine', module)
  other = config.copy_and_resolve_references()
  other.method = 'my_methods.mine'
  method = experiment.make_method(other, None)
  for call, pair, run in (
    ('step(state, rng_key)', '(state, metrics)', lambda: method.step(0, 1)),
    ('save(state)', '(arrays, host)', lambda: method.save(0)),
  ):
    expected = f"is 'my_methods.mine': its {call} {said} {pair}, the second"
    with pytest.raises(ValueError, match=re.escape(expected)):
      run()
  assert method.load(0, 1) == given


def test_what_a_method_found_is_checked_before_it_is_written(config):
  close = formula_lib.parse('close')
  for found, said in (
    (Found(1, ('close',), (1.0,)), 'formulas that are none'),
    (Found(1, (close,), ()), '1 formulas and the weights'),
    (Found(1, (close,), (float('nan'),)), 'a finite number for each'),
  ):
    with pytest.raises(ValueError, match=said):
      experiment.summarize(config, found, None, ())
