"""Neutralised labels: the residual of each day, and runs that use them."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import tiny
from absl import flags
from ml_collections import config_flags

from alphajax import evaluate, markets, train
from alphajax.data import neutral
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec
from alphajax.factor import regressors
from alphajax.report import page

INDUSTRIES = ('bank', 'coal', 'food', 'steel')
NEUTRALIZE = ('industry', 'log_market_cap')


def slow_residual(target, members, groups, numbers):
  """The definition: a design matrix of ones, all dummies and numbers."""
  out = np.full(target.shape, np.nan)
  for t in range(target.shape[0]):
    rows = np.flatnonzero(members[t] & np.isfinite(target[t]))
    rows = [
      s for s in rows if all(np.isfinite(x[t, s]) for x in groups + numbers)
    ]
    design, count = [np.ones(len(rows))], len(numbers)
    for codes in groups:
      levels = np.unique(codes[t, rows])
      count += len(levels) - 1
      design += [(codes[t, rows] == level).astype(float) for level in levels]
    design += [np.asarray(x[t, rows], np.float64) for x in numbers]
    if not rows or len(rows) < count + 2:
      continue
    x, y = np.stack(design, 1), target[t, rows].astype(np.float64)
    # Columns of like size, or lstsq takes small ones for rounding.
    x = x / np.abs(x).max(0)
    out[t, rows] = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
  return out


def cells(num_days=30, num_stocks=24, seed=0):
  """A label, members, two kinds of groups and two numbers, with holes."""
  rng = np.random.default_rng(seed)
  shape = (num_days, num_stocks)
  codes = np.float32(rng.integers(0, 4, shape))
  others = np.float32(rng.integers(0, 3, shape))
  size = np.float32(rng.normal(24, 2, shape))
  beta = np.float32(rng.normal(1, 0.3, shape))
  target = np.float32(
    0.02 * codes + 0.01 * size - 0.03 * beta + 0.05 * rng.normal(size=shape)
  )
  for values, share in ((target, 0.05), (codes, 0.03), (size, 0.04)):
    values[rng.random(shape) < share] = np.nan
  members = rng.random(shape) < 0.9
  members[3] = False
  members[4] = np.arange(num_stocks) < 6  # Too few for so many regressors.
  size[5] = np.nan
  codes[6], codes[7] = 2, np.arange(num_stocks) % 4
  codes[7, 0] = 9  # The only stock of its group.
  return target, members, [codes, others], [size, beta]


@pytest.mark.parametrize(
  'num_groups, num_numbers', [(0, 0), (1, 0), (0, 2), (1, 1), (1, 2), (2, 2)]
)
def test_residual_is_the_fit_of_each_day(num_groups, num_numbers):
  target, members, groups, numbers = cells()
  groups, numbers = groups[:num_groups], numbers[:num_numbers]
  actual = neutral.residual(target, members, groups, numbers)
  expected = slow_residual(target, members, groups, numbers)
  assert actual.dtype == np.float32
  np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
  assert np.isfinite(expected).any(axis=1).sum() >= 27
  assert np.isnan(expected[3]).all()
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_days_need_two_members_more_than_regressors():
  rng = np.random.default_rng(1)
  target = rng.normal(size=(4, 9))
  codes = np.tile(np.arange(9.0) % 3, (4, 1))
  size = rng.normal(size=(4, 9))
  # Three groups are two regressors, and one number: three.
  members = np.arange(9) < np.array([[3], [4], [5], [6]])
  actual = neutral.residual(target, members, [codes], [size])
  known = np.isfinite(actual).sum(axis=1)
  np.testing.assert_array_equal(known, [0, 0, 5, 6])


def test_what_regressors_explain_wholly_is_zero():
  target, _, (codes, _), _ = cells()
  codes, target = np.nan_to_num(codes), np.nan_to_num(target)
  codes[:, 0] = 7
  members = np.ones(target.shape, bool)
  actual = neutral.residual(target, members, [codes])
  assert (actual[:, 0] == 0).all() and (actual[:, 1:] != 0).any()
  size = np.float32(1e12) * np.exp(target)
  explained = neutral.residual(2 * size - 3, members, [], [size])
  assert (explained == 0).all()


@pytest.mark.parametrize('scale', [1e-20, 1e15])
def test_the_unit_of_a_regressor_is_of_no_account(scale):
  target, members, groups, (size, _) = cells()
  plain = neutral.residual(target, members, groups[:1], [size])
  scaled = neutral.residual(
    target, members, groups[:1], [size.astype(float) * scale]
  )
  np.testing.assert_allclose(scaled, plain, rtol=1e-5, atol=1e-7)


def test_a_number_that_is_level_within_groups_is_no_regressor():
  target, members, (codes, _), _ = cells()
  level = np.float32(1e6) + codes  # Says what the groups say.
  actual = neutral.residual(target, members, [codes], [level])
  expected = slow_residual(target, members, [codes], [])
  seen = np.isfinite(actual)
  assert seen.any()
  np.testing.assert_allclose(actual[seen], expected[seen], atol=1e-7)


def make_panel(num_days=60, num_stocks=24, seed=0):
  rng = np.random.default_rng(seed)
  shape = (num_days, num_stocks)
  features = np.exp(rng.normal(0, 0.1, (8, *shape))).astype(np.float32)
  features[6] = np.arange(num_stocks) % 3
  features[7] = 1e9 * np.exp(rng.normal(size=shape))
  features[7, :, 5] = 0.0  # Without a logarithm.
  features[6, ::7, 1] = np.nan
  days = np.arange('2020-01-01', num_days, dtype='datetime64[D]')
  return panel_lib.make(
    features,
    rng.random(shape) < 0.95,
    tuple(map(str, days)),
    tuple(f's{i}' for i in range(num_stocks)),
    (*panel_lib.FEATURES, 'branch', 'market_cap'),
    groups=(('branch', ('a', 'b', 'c')),),
  )


def cut(panel, neutralize, lookback=4, **options):
  return panel_lib.split(
    panel,
    'train',
    panel.dates[10],
    panel.dates[49],
    lookback=lookback,
    label=LabelSpec(0, 3, neutralize=neutralize),
    **options,
  )


def test_split_neutralises_by_groups_and_logarithms():
  panel = make_panel()
  part, plain = cut(panel, ('branch', 'log_market_cap')), cut(panel, ())
  members = np.asarray(part.panel.mask)
  codes = panel_lib.feature(part.panel, 'branch')
  size = panel_lib.feature(part.panel, 'market_cap').astype(float)
  log_size = np.log(np.where(size > 0, size, np.nan))
  expected = slow_residual(plain.target, members, [codes], [log_size])
  np.testing.assert_array_equal(np.isnan(part.target), np.isnan(expected))
  assert np.isnan(part.target[:, 5]).all()  # Not minus infinity: missing.
  np.testing.assert_allclose(part.target, expected, rtol=1e-5, atol=1e-7)
  np.testing.assert_array_equal(part.scored, plain.scored)
  assert (
    'labels are neutralised by branch, log_market_cap; '
    in (part.panel.notes[-1])
  )


def test_numbers_named_as_groups_are_codes():
  panel = make_panel()
  names = tuple(n.replace('branch', 'industry') for n in panel.feature_names)
  other = panel.replace(feature_names=names, groups=())
  np.testing.assert_array_equal(
    cut(panel, ('branch',)).target, cut(other, ('industry',)).target
  )


def test_a_feature_of_the_very_name_goes_before_the_logarithm():
  panel = make_panel()
  names = (*panel.feature_names[:-2], 'volume_', 'log_volume')
  panel = panel.replace(feature_names=names, groups=())
  expected = cut(panel, ('log_volume+0',), compute=regressors.values)
  actual = cut(panel, ('log_volume',))
  np.testing.assert_allclose(actual.target, expected.target, atol=1e-7)


def test_regressors_may_be_formulas():
  panel = make_panel()
  text = 'Log(market_cap)+Std($close,5)'
  part = cut(panel, (text,), compute=regressors.values)
  plain, panel = cut(panel, ()), part.panel
  close = pd.DataFrame(panel_lib.feature(panel, 'close')).astype(float)
  size = panel_lib.feature(panel, 'market_cap').astype(float)
  size = np.log(np.where(size > 0, size, np.nan))
  values = size + close.rolling(5).std().to_numpy()
  expected = slow_residual(plain.target, np.asarray(panel.mask), [], [values])
  np.testing.assert_allclose(part.target, expected, rtol=1e-4, atol=1e-6)
  assert regressors.lookback(('branch', text)) == 4
  assert regressors.columns(('branch', text, 'log_x', 'log_y'), ('log_y',)) == [
    'branch', 'market_cap', 'close', 'x', 'log_y',
  ]  # fmt: skip


def test_regressors_of_later_days_change_nothing():
  """Labels look ahead by their own horizon, their regressors not at all."""
  panel = make_panel()
  names = ('branch', 'log_market_cap', 'Std(open,5)')
  part = cut(panel, names, compute=regressors.values)
  t = 30  # Of the cut, day 36 of the panel.
  features = panel.features.copy()
  for name in ('branch', 'market_cap', 'open'):
    features[panel.feature_names.index(name), 37:] *= 3
  later = cut(
    panel.replace(features=features), names, compute=regressors.values
  )
  np.testing.assert_array_equal(part.target[: t + 1], later.target[: t + 1])
  assert (part.target[t + 1 :] != later.target[t + 1 :]).any()


def test_days_without_a_label_are_not_scored():
  panel = make_panel()
  panel.features[7, 20:23] = np.nan
  part, plain = cut(panel, ('log_market_cap',)), cut(panel, ())
  dropped = np.flatnonzero(plain.scored & ~part.scored)
  assert [part.panel.dates[t] for t in dropped] == list(panel.dates[20:23])
  assert '3 of 37 days have too few members' in part.panel.notes[-1]
  panel.features[7] = np.nan
  with pytest.raises(ValueError, match='no day has members enough .*log_mark'):
    cut(panel, ('log_market_cap',))


def test_nothing_to_neutralise_by_is_the_label_of_before():
  panel = make_panel()
  part = cut(panel, ())
  np.testing.assert_array_equal(
    part.target, panel_lib.forward_return(part.panel, LabelSpec(0, 3))
  )
  assert part.panel.notes == ()


@pytest.mark.parametrize('name', ['sector', 'log_sector', 'Log(close)'])
def test_split_refuses_an_unknown_name(name):
  with pytest.raises(ValueError, match=r'label.neutralize: unknown feature .*b'
                     'ranch, market_cap, and with log_ before it'):  # fmt: skip
    cut(make_panel(), (name,))


@pytest.mark.parametrize(
  'text, message',
  [
    ('Log(close', 'label.neutralize: the formula ends too early'),
    ('market cap', 'label.neutralize: unexpected'),
    ('Lg(close)', 'label.neutralize: unknown operator'),
    ('Ref(close,-1)', 'label.neutralize: .*window'),
    ('', 'label.neutralize: the formula ends too early'),
  ],
)
def test_formulas_that_are_none(text, message):
  with pytest.raises(ValueError, match=message):
    cut(make_panel(), (text,), compute=regressors.values)


@pytest.fixture(scope='module')
def market_file(tmp_path_factory):
  """The tiny market with industries and sizes that drive its returns."""
  panel = markets.simulated(tiny.get_config('random_search')).panel
  rng = np.random.default_rng(0)
  days, stocks = panel.mask.shape
  frame = pd.DataFrame(
    {
      'date': np.repeat(panel.dates, stocks),
      'symbol': np.tile(panel.symbols, days),
      'member': np.asarray(panel.mask).ravel(),
      **{
        name: np.asarray(plane).ravel()
        for name, plane in zip(panel.feature_names, panel.features, strict=True)
      },
    }
  )
  frame['industry'] = np.tile(rng.choice(INDUSTRIES, stocks), days)
  frame['market_cap'] = frame['close'] * np.tile(
    rng.lognormal(20, 2, stocks), days
  )
  frame.loc[frame.index[::97], 'market_cap'] = np.nan
  path = tmp_path_factory.mktemp('data') / 'market.parquet'
  frame.dropna(subset=['close']).to_parquet(path)
  return path


def neutral_config(path, names=NEUTRALIZE):
  config = tiny.get_config('random_search,few')
  config.data.path = str(path)
  config.num_iterations = 1
  config.label.neutralize = names
  return config


def test_a_run_trains_judges_and_tests_on_neutral_labels(market_file, tmp_path):
  config, run = neutral_config(market_file), tmp_path / 'run'
  trained = train.train(config, run)
  plain = neutral_config(market_file, ())
  for name in ('train', 'valid', 'test'):
    split = markets.load_split(config, name)
    before = markets.load_split(plain, name)
    frame = pd.read_parquet(market_file)
    wide = frame.pivot(index='date', columns='symbol', values='industry')
    wide = wide.loc[list(split.panel.dates), list(split.panel.symbols)]
    codes = wide.map(
      lambda x: INDUSTRIES.index(x) if isinstance(x, str) else np.nan
    ).to_numpy(float)
    sizes = frame.pivot(index='date', columns='symbol', values='market_cap')
    sizes = sizes.loc[wide.index, wide.columns].to_numpy()
    expected = slow_residual(
      np.asarray(before.target),
      np.asarray(split.panel.mask),
      [codes],
      [np.log(sizes)],
    )
    np.testing.assert_allclose(split.target, expected, rtol=1e-4, atol=1e-6)
    if name != 'test':
      used = getattr(trained.market, name)
      np.testing.assert_array_equal(used.target, split.target)
  pool = json.loads((run / 'pool.json').read_text())
  assert pool['label'] == {
    'horizon': 5, 'entry': 0, 'exit': 5, 'price': 'close',
    'neutralize': list(NEUTRALIZE),
  }  # fmt: skip
  results = evaluate.evaluate(run)
  said = 'return over 5 days, neutralised by industry, log_market_cap'
  assert said in evaluate.table(run, results)
  assert said in page.write_report(run).read_text(encoding='utf-8')
  # The figures are those of the neutral label and not of the plain one.
  predict, _ = evaluate._predictor(config, run, pool, None)
  split = markets.load_split(config, 'test')
  signal = np.asarray(predict(split.panel))
  figures = [
    _mean_ic(signal, s.target, np.asarray(s.panel.mask), split.scored)
    for s in (split, markets.load_split(plain, 'test'))
  ]
  assert results['test']['ic']['mean'] == pytest.approx(figures[0], abs=1e-5)
  assert abs(figures[0] - figures[1]) > 1e-3


def _mean_ic(signal, target, members, scored):
  daily = []
  for t in np.flatnonzero(scored):
    seen = members[t] & np.isfinite(target[t])
    z = np.nan_to_num(signal[t, seen].astype(float))
    daily.append(np.corrcoef(z, target[t, seen].astype(float))[0, 1])
  return np.mean(daily)


def test_a_plain_run_says_nothing_of_it(market_file, tmp_path):
  # Of the file as well, which has the regressors: its programs are there.
  trained = train.train(neutral_config(market_file, ()), tmp_path / 'run')
  notes = ' '.join(trained.market.train.panel.notes)
  assert 'warm-up' in notes and 'neutral' not in notes
  pool = json.loads((tmp_path / 'run' / 'pool.json').read_text())
  assert set(pool['label']) == {'horizon', 'entry', 'exit', 'price'}


@pytest.mark.parametrize(
  'value, expected',
  [
    ("('industry','log_market_cap')", NEUTRALIZE),
    ("('industry',)", ('industry',)),
    ('()', ()),
  ],
)
def test_the_command_line_names_regressors(monkeypatch, value, expected):
  argv = ['program', f'--config.label.neutralize={value}']
  monkeypatch.setattr(sys, 'argv', argv)  # Where the keys are looked for.
  values = flags.FlagValues()
  config_flags.DEFINE_config_dict(
    'config', tiny.get_config('random_search'), flag_values=values
  )
  values(argv)
  assert markets.label_spec(values.config).neutralize == expected


def test_warm_up_covers_the_regressors(market_file):
  config = neutral_config(market_file, ('Std(close,60)',))
  assert markets.lookback(config) == 59
  config.label.neutralize = ('log_volume',)
  plain = neutral_config(market_file, ())
  assert markets.lookback(config) == markets.lookback(plain)


@pytest.mark.parametrize(
  'names, message',
  [
    (('industri',), 'missing column industri; the table has .*industry'),
    (('log_mcap',), 'missing column mcap; the table has .*market_cap'),
    (('Log(mcap)',), 'missing column mcap; the table has'),
    (('Log(market_cap',), 'label.neutralize: the formula ends too early'),
  ],
)
def test_bad_names_of_a_file(market_file, names, message):
  with pytest.raises(ValueError, match=message):
    markets.load_market(neutral_config(market_file, names))


def test_names_must_be_a_list_of_names():
  config = tiny.get_config('random_search')
  config.label.neutralize = (1,)
  with pytest.raises(ValueError, match='config.label.neutralize is .1,.: exp'):
    markets.load_market(config)
  config.label.neutralize = ('industry',)
  with pytest.raises(ValueError, match="simulated market has no 'industry'"):
    markets.load_market(config)
