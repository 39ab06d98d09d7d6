"""Mined on one half of train, judged on what it has not seen."""

import json
import shutil
from unittest.mock import Mock

import jax
import numpy as np
import pytest
import tiny

from alphajax import cli, halves, markets, train
from alphajax.factor import runtime
from alphajax.language import formula as formula_lib
from alphajax.methods import linear
from alphajax.methods.base import Found

RULES = ('algorithm1', 'elastic_net', 'distilled@capacity=2')


@pytest.fixture(scope='module', autouse=True)
def nothing_is_forgotten():
  """Halves so small leave little behind, and return in every test."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(runtime, 'forget_formulas', lambda: None)
    yield


def config_of(**pool):
  config = tiny.get_config('random_search')
  config.num_iterations = 2
  config.pool.rule = 'elastic_net'
  config.pool.penalty = 0.5
  config.pool.update(pool)
  return config


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return tmp_path_factory.mktemp('halves')


@pytest.fixture(scope='module')
def results(workdir):
  return halves.halves(config_of(), workdir, RULES)


def test_the_halves_are_of_one_size_and_do_not_overlap():
  config = config_of()
  days = halves.half_days(config)
  (start, middle), (after, end) = days['first'], days['second']
  assert (start, end) == tuple(config.splits.train) and middle < after
  panel = markets.simulated(config).panel
  place = panel.dates.index
  assert place(after) == place(middle) + 1
  spans = {half: halves._span(config, days[half]) for half in halves.HALVES}
  dates = {
    half: np.array(split.panel.dates)[split.scored]
    for half, split in spans.items()
  }
  # Labels of the first are purged where they would read the second.
  exit_ = config.label.exit
  assert dates['first'][-1] == panel.dates[place(middle) - exit_]
  assert dates['second'][0] == after
  assert abs(len(dates['first']) - len(dates['second'])) <= exit_ + 1


def test_several_seeds_are_refused(tmp_path):
  config = config_of()
  config.num_seeds = 2
  with pytest.raises(ValueError, match='num_seeds is 2: halves are of one'):
    halves.halves(config, tmp_path)


def test_figures_of_every_rule_and_span(results, workdir):
  assert tuple(results) == RULES
  for entry in results.values():
    for half in halves.HALVES:
      assert entry[half]['size'] >= 1
      for span in ('other', 'valid'):
        assert np.isfinite(entry[half][span]['ic']['mean'])
    assert entry['spans'] == ['other', 'valid']
  assert results['algorithm1']['first']['size'] == 3
  assert results['distilled@capacity=2']['first']['size'] <= 2
  assert json.loads((workdir / 'halves.json').read_text()) == results
  daily = np.load(workdir / 'daily_halves.npz')
  for half, other in (('first', 'second'), ('second', 'first')):
    mined_on = np.load(workdir / half / 'daily.npz')
    for span, own in ((f'{other}_other', 'train'), (f'{half}_valid', 'valid')):
      np.testing.assert_array_equal(
        daily[f'dates_{span}'], mined_on[f'dates_{own}']
      )
  series = daily['elastic_net_first_other']
  mean = results['elastic_net']['first']['other']['ic']['mean']
  assert series.mean() == pytest.approx(mean, abs=1e-6)
  assert 'elastic_net' in halves.table(results)


def test_the_rule_of_the_run_is_its_own_result(results, workdir, tmp_path):
  """Judged by `predict`, as any method without rules is."""
  shutil.copytree(workdir, tmp_path / 'again')
  own = halves.halves(config_of(), tmp_path / 'again')
  for half in halves.HALVES:
    for span in ('other', 'valid'):
      assert own['result'][half][span]['ic']['mean'] == pytest.approx(
        results['elastic_net'][half][span]['ic']['mean'], abs=2e-3
      )
  # Validation may have chosen it, as it does networks.
  others = [own['result'][h]['other']['ic']['mean'] for h in halves.HALVES]
  assert own['result']['spans'] == ['other']
  assert own['result']['mean'] == pytest.approx(np.mean(others))


def test_the_last_label_of_a_half_ends_within_it():
  """So mining on the first half reads no price of the second."""
  config = config_of()
  days = halves.half_days(config)
  one = config.copy_and_resolve_references()
  one.splits.train = days['first']
  market, _ = markets.load_market(one)
  last = np.array(market.train.panel.dates)[market.train.scored][-1]
  panel = markets.simulated(config).panel
  reads = panel.dates.index(last) + config.label.exit
  assert panel.dates[reads] <= days['first'][1]


def test_it_goes_on_where_it_stopped(results, workdir, monkeypatch):
  """A second call trains nothing and says the same, in 64 bits as well."""

  def refuse(*args):
    raise AssertionError('an iteration was run again')

  monkeypatch.setattr('alphajax.methods.random_search.propose', refuse)
  with jax.enable_x64(True):
    again = halves.halves(config_of(), workdir, RULES)
  assert again == results


def test_the_first_formulas_make_what_a_shorter_run_makes(workdir, tmp_path):
  shutil.copytree(workdir, tmp_path / 'whole')
  results = halves.halves(config_of(), tmp_path / 'whole', RULES, (5, 8))
  short = config_of()
  short.max_evaluated = 8
  ends_there = halves.halves(short, tmp_path / 'short', RULES)
  for rule in RULES:
    ours, theirs = results[f'{rule} of 8'], ends_there[rule]
    for half in halves.HALVES:
      assert ours[half]['size'] == theirs[half]['size']
      for span in ('other', 'valid'):
        assert ours[half][span]['ic']['mean'] == pytest.approx(
          theirs[half][span]['ic']['mean'], abs=1e-5
        )
  assert results['algorithm1 of 5'] != results['algorithm1 of 8']


def test_what_is_given_stays_what_it_is(results, workdir, tmp_path):
  config = config_of()
  config.splits.train = halves.half_days(config)['first']
  shutil.copytree(workdir / 'first', tmp_path / 'first')
  trained = train.train(config, tmp_path / 'first')
  known = list(trained.state.mined.book)
  # A base is in the pool of every rule, whatever it is worth.
  config.pool.base = '\n'.join([*known[:2], ''])
  config.pool.penalty = 100.0
  chosen, _ = halves.choices(config, trained, [('elastic_net', None)])
  assert {formula_lib.key(formula) for formula in chosen} == set(known[:2])
  # An archive counts as evaluated, one formula after the other.
  config.pool.base, config.archive = '', '\n'.join([*known, ''])
  formulas = [formula_lib.parse(key) for key in known]
  pools = halves._pools_after(config, trained, formulas, [5])
  assert np.asarray(pools[5].ids).max() < 5


def test_rules_choose_from_formulas():
  trained = train.Trained(None, object(), None, 'done')
  config = config_of()
  config.method = 'published'
  with pytest.raises(ValueError, match="'published', which keeps no formulas"):
    halves.choices(config, trained._replace(market=Mock()), [])


def test_points_need_rules(tmp_path):
  with pytest.raises(ValueError, match='--points needs the --rules'):
    halves.halves(config_of(), tmp_path, (), (5,))
  with pytest.raises(ValueError, match="--points has '0': expected numbers"):
    halves._count('0')


def test_bad_rules(tmp_path):
  with pytest.raises(ValueError, match="--rules is 'best'"):
    halves.halves(config_of(), tmp_path, ('best',))
  with pytest.raises(ValueError, match="'lstm', which keeps no formulas"):
    halves.check_rules(cli.read_config('lstm:simulated'), ('bagged',))
  with pytest.raises(ValueError, match='set --config.pool.rule=elastic_net'):
    halves.halves(config_of(rule='algorithm1'), tmp_path, ('lasso',))


def test_figures_are_those_of_the_pool(results, workdir):
  """The elastic net's own pool.json of a half, judged by hand."""
  config = config_of()
  pool = json.loads((workdir / 'first' / 'pool.json').read_text())
  formulas = tuple(
    formula_lib.parse(factor['formula']) for factor in pool['factors']
  )
  found = Found(
    1, formulas, tuple(factor['weight'] for factor in pool['factors'])
  )
  split = halves._span(config, halves.half_days(config)['second'])
  daily = linear.daily_ic(found, split)
  assert daily.mean() == pytest.approx(
    results['elastic_net']['first']['other']['ic']['mean'], abs=2e-3
  )
