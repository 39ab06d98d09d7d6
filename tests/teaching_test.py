"""Runs that learn from the signal of another one."""

import json
import shutil

import numpy as np
import pytest
import tiny

from alphajax import folds, halves, markets, refit, teacher, train
from alphajax.configs import published, tcn
from alphajax.data import panel as panel_lib
from alphajax.factor import evaluate as evaluate_lib
from alphajax.language import formula as formula_lib
from alphajax.methods import teaching
from alphajax.run.files import RunError

WORDS = 'Mean(high/low,5)', 'CSRank(Delta(close,10))'


def config_of(run=None, method='random_search', **pool):
  config = tiny.get_config(method)
  config.pool.update(rule='elastic_net', penalty=0.5)
  config.pool.update(pool)
  config.teacher.runs = (str(run),) if run else ()
  return config


def make_teacher(workdir, **splits):
  """A run whose result is a pool of WORDS, by weights of the plain label."""
  config = tiny.shrink(published.get_config('simulated'))
  config.published.name = 'file'
  config.formulas = str(workdir.parent / 'words.txt')
  (workdir.parent / 'words.txt').write_text('\n'.join(WORDS))
  config.pool.rule = 'algorithm1'
  config.pool.l1 = 0.0
  config.splits.update(splits)
  train.train(config, workdir)
  return workdir


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return make_teacher(tmp_path_factory.mktemp('teacher') / 'run')


@pytest.fixture(scope='module')
def student(run, tmp_path_factory):
  """It is given one of the formulas that its teacher is made of."""
  config = config_of(run)
  folder = tmp_path_factory.mktemp('student')
  (folder / 'words.txt').write_text(WORDS[0])
  config.archive = str(folder / 'words.txt')
  return config, train.train(config, folder / 'run'), folder / 'run'


def signal_of(run, split):
  """What the pool of the teacher says, in float64."""
  pool = json.loads((run / 'pool.json').read_text())
  total = np.zeros(split.panel.mask.shape)
  for factor in pool['factors']:
    formula = formula_lib.parse(factor['formula'])
    values = values_of(formula, split.panel).astype(np.float64)
    values[~np.asarray(split.panel.mask)] = np.nan
    known = np.isfinite(values)
    count = np.maximum(known.sum(1, keepdims=True), 1)
    unit = values - np.nansum(values, 1, keepdims=True) / count
    spread = np.sqrt(np.nansum(unit**2, 1, keepdims=True) / count)
    unit = unit / np.maximum(spread, 1e-12)
    total += factor['weight'] * np.nan_to_num(unit)
  return total


def values_of(formula, panel):
  (values,) = evaluate_lib.make_store(panel).take([formula])
  return np.array(values)


def corr(x, y):
  known = np.isfinite(x) & np.isfinite(y)
  return np.corrcoef(x[known], y[known])[0, 1]


def test_what_is_learned_is_the_signal_and_what_is_judged_the_label(
  run, student
):
  config, trained, workdir = student
  plain = markets.load_split(config, 'train')
  said = signal_of(run, plain)
  split = trained.market.train
  members = np.asarray(plain.panel.mask)
  for t in np.flatnonzero(plain.scored)[::20]:
    label = np.where(members[t], np.asarray(split.target)[t], np.nan)
    assert corr(label, said[t]) == pytest.approx(1.0, abs=1e-4)
  # Of a formula everything that is kept is measured against that.
  mined = trained.state.mined
  first = np.concatenate(mined.memory.daily)[0]
  values = values_of(formula_lib.parse(WORDS[0]), plain.panel)
  values[~members] = np.nan
  days = np.flatnonzero(plain.scored)
  expected = [corr(values[t], said[t]) for t in days]
  whole = [np.isfinite(values[t][members[t]]).all() for t in days]
  assert np.mean(whole) > 0.8  # On others what is missing is 0.
  np.testing.assert_allclose(first[whole], np.array(expected)[whole], atol=2e-3)
  assert abs(np.mean(expected)) > 0.3  # It is a part of what the teacher says.
  # The labels of validation, and figures of both splits, are of returns.
  valid = markets.load_split(config, 'valid')
  np.testing.assert_array_equal(trained.market.valid.target, valid.target)
  signal = np.asarray(trained.method.predict(trained.state, plain.panel))
  returns = np.where(members, np.asarray(plain.target), np.nan)
  daily = [corr(signal[t], returns[t]) for t in days]
  kept = json.loads((workdir / 'pool.json').read_text())['pool']['train']
  assert kept['ic']['mean'] == pytest.approx(np.mean(daily), abs=1e-3)
  (*_, last) = map(json.loads, (workdir / 'metrics.jsonl').open())
  assert last['train_ic'] > abs(np.mean(daily)) + 0.2


def test_it_finds_what_the_teacher_is_made_of(run, tmp_path):
  """Two formulas make up the signal: with both nothing else has a weight."""
  config = config_of(run, penalty=0.05, ridge=0.001)
  (tmp_path / 'words.txt').write_text('\n'.join(WORDS))
  config.archive = str(tmp_path / 'words.txt')
  trained = train.train(config, tmp_path / 'run')
  found = trained.method.found(trained.state)
  weights = dict(zip(found.formulas, map(abs, found.weights), strict=True))
  strong = sorted(weights, key=weights.get)[-2:]
  assert set(strong) == {formula_lib.parse(text) for text in WORDS}
  rest = [w for f, w in weights.items() if f not in strong]
  assert max(rest, default=0.0) < 0.1 * min(weights[f] for f in strong)


@pytest.mark.parametrize('method', ['evolution', 'alphacfg', 'gp'])
def test_methods_learn_from_a_teacher(run, method, tmp_path):
  rule = {} if method == 'evolution' else {'rule': 'algorithm1'}
  taught = train.train(config_of(run, method, **rule), tmp_path / 'taught')
  plain = train.train(config_of(None, method, **rule), tmp_path / 'plain')
  ics = []
  for each in ('taught', 'plain'):
    (*_, last) = map(json.loads, (tmp_path / each / 'metrics.jsonl').open())
    ics.append(last['train_ic'])
  assert ics[0] > ics[1] + 0.1
  books = [set(each.state.mined.book) for each in (taught, plain)]
  assert books[0] & books[1] or method == 'gp'


def test_a_run_that_goes_on_ends_with_the_same_bits(run, student, tmp_path):
  config, _, whole = student
  config = config.copy_and_resolve_references()
  config.num_iterations = 1
  train.train(config, tmp_path / 'run')
  config.num_iterations = 3
  train.train(config, tmp_path / 'run')
  pools = [
    (each / 'pool.json').read_bytes() for each in (whole, tmp_path / 'run')
  ]
  assert pools[0] == pools[1]


def test_a_run_keeps_its_teacher(run, tmp_path):
  place = shutil.copytree(run, tmp_path / 'teacher')
  config = config_of(place)
  config.num_iterations = 1
  train.train(config, tmp_path / 'run')
  pool = json.loads((place / 'pool.json').read_text())
  pool['factors'][0]['weight'] *= 2
  (place / 'pool.json').write_text(json.dumps(pool))
  with pytest.raises(ValueError, match=r'teacher\.held'):
    train.train(config, tmp_path / 'run')
  config.teacher.runs = ()
  with pytest.raises(ValueError, match=r'teacher\.runs'):
    train.train(config, tmp_path / 'run')


def test_a_teacher_that_is_no_pool(tmp_path):
  """A network, restored from its checkpoint, that reads other bars."""
  config = tiny.shrink_predictor(tcn.get_config('simulated'))
  config.num_iterations = 1
  trained = train.train(config, tmp_path / 'tcn')
  own = config_of(tmp_path / 'tcn')
  plain = markets.load_split(own, 'train')
  theirs = trained.market.train
  shift = theirs.panel.dates.index(plain.panel.dates[0])
  said = np.asarray(trained.method.predict(trained.state, theirs.panel))
  taught = teacher.teach(own, plain).target[plain.scored]
  said = said[shift:][plain.scored].astype(np.float64)
  np.testing.assert_array_equal(
    np.isfinite(said), np.asarray(plain.panel.mask)[plain.scored]
  )
  mean, spread = np.nanmean(said, 1), np.nanstd(said, 1)
  unit = (said - mean[:, None]) / spread[:, None]
  np.testing.assert_allclose(taught, unit, atol=1e-3)


def test_a_teacher_of_another_market_reads_this_one(run):
  config = config_of(run)
  config.data.simulate.seed = 5
  plain = markets.load_split(config, 'train')
  taught = teacher.teach(config, plain).target
  said = signal_of(run, plain)
  for t in np.flatnonzero(plain.scored)[::20]:
    assert corr(taught[t], said[t]) == pytest.approx(1.0, abs=1e-4)


def test_days_and_stocks_are_told_by_their_names():
  panel = markets.simulated(config_of()).panel
  split = panel_lib.split(
    panel, 'train', panel.dates[40], panel.dates[80], lookback=10
  )
  order = np.random.default_rng(0).permutation(len(panel.symbols))[:-3]
  theirs = panel_lib.take_symbols(
    panel_lib.select_days(panel, slice(20, 120)),
    [panel.symbols[s] for s in order],
  )
  signal = np.add.outer(np.arange(20, 120), 1000.0 * order)
  signal[50, 3] = np.nan
  label = teaching.on_days(split, theirs, signal)
  expected = np.full(split.panel.mask.shape, np.nan)
  for t, date in enumerate(split.panel.dates):
    for s in order:
      expected[t, s] = panel.dates.index(date) + 1000.0 * s
  expected[split.panel.dates.index(panel.dates[70]), order[3]] = np.nan
  np.testing.assert_array_equal(label, expected.astype(np.float32))
  signal[30] = np.nan
  silent = teaching.on_days(split, theirs, signal)
  with pytest.raises(ValueError, match=f'nothing of .* on {panel.dates[50]}'):
    teaching.taught(split, [label, silent])


def test_several_teachers_are_of_one_weight():
  panel = markets.simulated(config_of()).panel
  split = panel_lib.split(
    panel, 'train', panel.dates[40], panel.dates[80], lookback=10
  )
  rng = np.random.default_rng(0)
  one, other = rng.normal(size=(2, *split.panel.mask.shape))
  other[:, 3] = np.nan
  made = teaching.taught(split, [100 * one + 7, other]).target
  members = np.array(split.panel.mask)
  expected = 0
  for signal in (one, other):
    signal = np.where(members & np.isfinite(signal), signal, np.nan)
    mean, spread = np.nanmean(signal, 1), np.nanstd(signal, 1)
    expected = expected + (signal - mean[:, None]) / spread[:, None] / 2
  np.testing.assert_allclose(made, expected, atol=1e-4)


def test_what_no_teacher_can_be(run, tmp_path):
  for place in (tmp_path / 'nothing', tmp_path):
    with pytest.raises(
      ValueError, match=r'config\.teacher\.runs .* a finished'
    ):
      train.train(config_of(place), tmp_path / 'run')
  with pytest.raises(ValueError, match='labels has half_horizon'):
    train.train(config_of(run, labels=('half_horizon',)), tmp_path / 'run')
  for name in ('train', 'valid'):
    config = config_of(run)
    first, last = config.splits[name]
    config.splits[name] = (first, str(np.datetime64(last) - 10))
    with pytest.raises(ValueError, match=f'whose {name} split ends {last}'):
      train.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  place = shutil.copytree(run, tmp_path / 'teacher')
  (place / 'pool.json').write_text('{')
  with pytest.raises(RunError, match=r'pool\.json'):
    train.train(config_of(place), tmp_path / 'run')


def test_each_year_has_a_teacher_of_its_own():
  config = config_of('walks/tcn')
  dates = [str(d) for d in np.arange('2009-06', '2014-02', dtype='M8[D]')]
  planned = folds.plan(config, dates, folds.Options(years=(2012, 2013)))
  runs = [fold.config.teacher.runs for fold in planned]
  assert runs == [('walks/tcn/2012',), ('walks/tcn/2013',)]
  assert config.teacher.runs == ('walks/tcn',)


def test_each_half_has_a_teacher_of_its_own(run, tmp_path):
  with pytest.raises(ValueError, match='has seen what is judged'):
    halves.halves(config_of(run), tmp_path / 'a')
  config = config_of()
  days = halves.half_days(config)
  for half in halves.HALVES:
    make_teacher(tmp_path / half, train=days[half])
  taught = config_of(tmp_path)
  taught.num_iterations = 1
  assert halves.half_days(taught) == days
  for half, other in zip(halves.HALVES, reversed(halves.HALVES), strict=True):
    shutil.copytree(tmp_path / half, tmp_path / 'swapped' / other)
  both = config_of()
  both.teacher.runs = (str(tmp_path), str(tmp_path / 'swapped'))
  with pytest.raises(ValueError, match='swapped, whose halves are'):
    halves.halves(both, tmp_path / 'c')
  rules = ('algorithm1', 'elastic_net')
  found = halves.halves(taught, tmp_path / 'b', rules)
  assert set(found) == set(rules)
  for half in halves.HALVES:
    made = json.loads((tmp_path / 'b' / half / 'config.json').read_text())
    assert made['teacher']['runs'] == [str(tmp_path / half)]


def test_a_refit_follows_the_teacher(run, student, tmp_path):
  config, trained, workdir = student
  made = refit.refit(workdir, tmp_path / 'later', end=config.splits.train[1])
  pool = json.loads((workdir / 'pool.json').read_text())
  before = {f['formula']: f['weight'] for f in pool['factors']}
  after = {f['formula']: f['weight'] for f in made['factors']}
  strong = sorted(before, key=lambda text: abs(before[text]))[-1]
  assert after[strong] == pytest.approx(before[strong], rel=0.35)
  assert np.sign(after[strong]) == np.sign(before[strong])
