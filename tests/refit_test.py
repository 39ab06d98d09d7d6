"""A pool fitted to other days: the same formulas, other weights."""

import json
import shutil

import commands
import numpy as np
import oracle
import pytest
import tiny
from ml_collections import config_dict

from alphajax import evaluate, export, markets, refit, train
from alphajax.language import formula as formula_lib
from alphajax.run.files import RunError

LATER = 230  # A day in the middle of the test split.


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  config = tiny.get_config('random_search')
  workdir = tmp_path_factory.mktemp('refit') / 'run'
  train.train(config, workdir)
  return config, workdir


@pytest.fixture
def run(trained, tmp_path):
  """A copy of the run, to be spoilt."""
  shutil.copytree(trained[1], tmp_path / 'run')
  return tmp_path / 'run'


def start_of(config, end):
  """First day of a fit that is as long as the run's: they share programs."""
  dates = markets.simulated(config).panel.dates
  # Its training has its warm-up within, others have it before them.
  bars = dates.index(config.splits.train[1]) + 1 - markets.lookback(config)
  return dates[dates.index(end) + 1 - bars]


def read(path):
  return json.loads(path.read_text())


def factors(place):
  pool = read(place / 'pool.json')['factors']
  return {factor['formula']: factor['weight'] for factor in pool}


def change(run, name, value):
  config = read(run / 'config.json')
  config['pool'][name] = value
  (run / 'config.json').write_text(json.dumps(config))


def moments(config, formulas):
  """Correlations of factors among each other and with the label, by NumPy."""
  split = markets.load_split(config, 'train')
  panel, label = split.panel, np.asarray(split.target, float)
  members = np.asarray(panel.mask)
  features = dict(
    zip(panel.feature_names, np.asarray(panel.features), strict=True)
  )
  labelled = members & np.isfinite(label)

  def standard(values, known):
    days = [
      np.where(k, (v - v[k].mean()) / v[k].std(), 0.0)
      for v, k in zip(values[split.scored], known[split.scored], strict=True)
    ]
    return np.where(labelled[split.scored], days, 0.0)

  planes = []
  for text in formulas:
    values = oracle.evaluate(formula_lib.parse(text), features, members)
    plane = standard(values, members & np.isfinite(values))
    count = labelled[split.scored].sum(1, keepdims=True)
    mean = plane.sum(1, keepdims=True) / count
    planes.append(np.where(labelled[split.scored], plane - mean, 0.0))
  planes.append(standard(label, labelled))
  products = np.einsum('pts,qts->pqt', planes, planes) / count[:, 0]
  products = products.mean(-1)
  return products[:-1, :-1], products[:-1, -1]


def test_weights_are_the_optimum_of_the_pool_fit(trained, tmp_path):
  """No weight of w'Gw - 2b'w + l1 |w| can be moved for the better."""
  config, workdir = trained
  out = tmp_path / 'out'
  summary = refit.refit(workdir, out, end=config.splits.train[1])
  weights = np.array(list(factors(out).values()))
  assert list(factors(out)) == list(factors(workdir))
  matrix, with_label = moments(config, factors(out))
  slope = 2 * (matrix @ weights - with_label)
  assert (weights != 0).all()
  np.testing.assert_allclose(
    slope, -config.pool.l1 * np.sign(weights), atol=1e-5
  )
  # So the refit of a refit is itself.
  again = refit.refit(out, tmp_path / 'again', end=config.splits.train[1])
  np.testing.assert_allclose(
    list(factors(tmp_path / 'again').values()), weights, atol=1e-5
  )
  assert {row['sign'] for row in again['refit']['changes']} == {'kept'}
  assert [row['before'] for row in again['refit']['changes']] == [
    row['after'] for row in summary['refit']['changes']
  ]


@pytest.mark.parametrize('rule', ['algorithm1', 'elastic_net', 'bagged'])
def test_where_the_label_turns_round_all_signs_flip(
  run, tmp_path, monkeypatch, rule
):
  """Every rule is odd in the label, so the refit of the refit is the first."""
  change(run, 'rule', rule)
  end = read(run / 'config.json')['splits']['train'][1]
  refit.refit(run, tmp_path / 'straight', end=end)
  load = markets.load_split

  def turned(config, name):
    split = load(config, name)
    return split.replace(target=-np.asarray(split.target))

  monkeypatch.setattr(markets, 'load_split', turned)
  summary = refit.refit(tmp_path / 'straight', tmp_path / 'turned', end=end)
  straight, other = factors(tmp_path / 'straight'), factors(tmp_path / 'turned')
  for formula, weight in straight.items():
    assert other[formula] == pytest.approx(-weight, abs=1e-5)
  signs = {row['sign'] for row in summary['refit']['changes']}
  assert 'flipped' in signs and 'kept' not in signs
  count = sum(weight != 0 for weight in straight.values())
  assert f'{count} flipped it' in refit.table(summary)


def test_no_label_reads_past_the_end(trained, tmp_path):
  config, workdir = trained
  panel = markets.simulated(config).panel
  end = panel.dates[200]
  start = start_of(config, end)
  first = panel.dates.index(start)
  assert first > 60
  summary = refit.refit(workdir, tmp_path / 'out', start=start, end=end)
  with np.load(tmp_path / 'out' / 'daily.npz') as daily:
    dates = daily['dates_train'].tolist()
  assert dates == list(panel.dates[first : 201 - config.label.exit])
  assert summary['pool']['train']['days'] == len(dates)
  assert summary['refit']['days'] == [start, end]
  made = read(tmp_path / 'out' / 'config.json')['splits']
  assert made['train'] == [start, end] and 'valid' not in made
  assert made['test'] == list(config.splits.test)
  assert summary['iteration'] == read(workdir / 'pool.json')['iteration']


def test_the_future_changes_no_weight(trained, tmp_path, monkeypatch):
  config, workdir = trained
  simulated = markets.simulated
  end = simulated(config).panel.dates[LATER]
  start = start_of(config, end)
  refit.refit(workdir, tmp_path / 'before', end=end, start=start)

  def other(config):
    found = simulated(config)
    features = np.array(found.panel.features)
    features[:, np.array(found.panel.dates) > end] *= 3.0
    return found._replace(panel=found.panel.replace(features=features))

  monkeypatch.setattr(markets, 'simulated', other)
  refit.refit(workdir, tmp_path / 'after', end=end, start=start)
  assert factors(tmp_path / 'after') == factors(tmp_path / 'before')
  assert factors(tmp_path / 'after') != factors(workdir)


def test_evaluate_reads_it(trained, tmp_path):
  config, workdir = trained
  out = tmp_path / 'out'
  dates = markets.simulated(config).panel.dates
  end = dates[LATER]
  assert config.splits.test[0] < end < config.splits.test[1]
  refit.refit(workdir, out, end=end, start=start_of(config, end))
  results = evaluate.evaluate(out)
  assert results['opened'] == 1
  with np.load(out / 'daily_test.npz') as daily:
    assert daily['dates'][0] == dates[LATER + 1]
  lines = evaluate.table(out, results).splitlines()
  assert lines[1].split() == ['train', 'test']
  panel = export.check_panel(export.of_run(out).formulas, out, None, 9, 5)
  assert panel.dates[-1] == end  # It has no validation to be compared on.
  made = read(out / 'provenance.json')
  assert made['refit'] == str(workdir)
  assert made['data_hash'] == read(workdir / 'provenance.json')['data_hash']


def test_where_the_data_end_it_is_said_how_to_judge_it(trained, tmp_path):
  config, workdir = trained
  out, end = tmp_path / 'out', markets.simulated(config).panel.dates[-1]
  refit.refit(workdir, out, end=end, start=start_of(config, end))
  hint = f'fitted up to {end}: --split=START:END --data=PATH judges it on later'
  with pytest.raises(ValueError, match=hint):
    evaluate.evaluate(out)
  assert not (out / 'results.json').exists()


def test_a_formula_without_a_value_is_silent(run, tmp_path):
  pool = read(run / 'pool.json')
  pool['factors'].insert(1, {'formula': 'Sub(close,close)', 'weight': 0.5})
  (run / 'pool.json').write_text(json.dumps(pool))
  for rule in ('algorithm1', 'elastic_net'):
    change(run, 'rule', rule)
    summary = refit.refit(
      run, tmp_path / rule, end=read(run / 'config.json')['splits']['train'][1]
    )
    row = summary['refit']['changes'][1]
    assert row['formula'] == 'close-close'
    assert row['after'] == 0 and row['sign'] == 'silent'
    assert len(factors(tmp_path / rule)) == len(pool['factors'])
  assert '1 have no weight left' in refit.table(summary)


def test_the_base_stays(run, tmp_path):
  """Under a rule the base has a weight, though the penalty leaves out all."""
  change(run, 'rule', 'elastic_net')
  change(run, 'penalty', 1e6)
  end = read(run / 'config.json')['splits']['train'][1]
  with pytest.raises(ValueError, match='gives no formula of .* a weight'):
    refit.refit(run, tmp_path / 'none', end=end)
  last = list(factors(run))[-1]
  change(run, 'base', last + '\n')
  refit.refit(run, tmp_path / 'out', end=end)
  weights = factors(tmp_path / 'out')
  assert [text for text, weight in weights.items() if weight] == [last]


def test_bad_input(run, tmp_path):
  with pytest.raises(ValueError, match='expected days in order'):
    refit.refit(run, tmp_path / 'out', start='2012-01-01', end='2011-01-01')
  with pytest.raises(ValueError, match="'2011' is not a day"):
    refit.refit(run, tmp_path / 'out', end='2011')
  with pytest.raises(ValueError, match='lies outside the data'):
    refit.refit(run, tmp_path / 'out', end='2031-01-01')
  with pytest.raises(RunError, match='is not empty: take another folder'):
    refit.refit(run, run, end='2011-01-01')
  with pytest.raises(RunError, match=r'--out=.*config.json is a file: exp'):
    refit.refit(run, run / 'config.json' / 'out', end='2011-01-01')
  with pytest.raises(RunError, match='no such folder'):
    refit.refit(tmp_path / 'nowhere', tmp_path / 'out', end='2011-01-01')
  assert not (tmp_path / 'out').exists()


def test_the_days_of_a_refit_of_a_refit():
  """Its config has no validation any more."""
  config = config_dict.ConfigDict(tiny.get_config('random_search').to_dict())
  end = config.splits.test[0]
  for _ in range(2):
    refit._set_days(config, config.splits.train[0], end)
  assert 'valid' not in config.splits
  assert config.splits.train[1] == end < config.splits.test[0]


def test_the_command(trained, tmp_path):
  config, workdir = trained
  done = commands.run(
    'alphajax.refit', f'--workdir={workdir}', f'--out={tmp_path / "out"}',
    f'--end={markets.simulated(config).panel.dates[LATER]}',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert lines[0].split() == ['before', 'after', 'formula', 'sign']
  assert 'kept their sign' in done.stdout
