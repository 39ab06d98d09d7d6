"""Choosing paths by how likely they are: shares, quotas, the evaluator."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.configs import synthesize as configs
from alphajax.data import bars, controls, simulate, two_levels
from alphajax.methods import market_families, path_fit, path_selection, paths

NAMES = ('dull', 'right', 'wild')


def some(centers, spread=1.0, num_candidates=4, num_stocks=120, seed=0):
  """Scores `[F, K, S]` of families with these means."""
  rng = np.random.default_rng(seed)
  shape = (len(centers), num_candidates, num_stocks)
  return rng.normal(np.reshape(centers, (-1, 1, 1)), spread, shape)


@pytest.fixture(scope='module')
def real():
  return np.random.default_rng(9).normal(0, 1, 2000)


def taken(scores, choice):
  return scores[choice.family, choice.candidate, np.arange(scores.shape[2])]


def test_a_mixture_of_families_gets_the_spread_of_the_real_ones(real):
  """One family too likely, one too unlikely: together as real ones are."""
  scores = some((1.2, 0.0, -1.2), spread=0.7)
  choice = path_selection.choose(scores, real, NAMES)
  found = taken(scores, choice)
  before, after = choice.log['off_histogram']
  assert after < 0.06 < before
  assert after == pytest.approx(path_selection.off_histogram(found, real))
  assert np.mean(found) == pytest.approx(0, abs=0.1)
  assert np.std(found) == pytest.approx(np.std(real), abs=0.12)
  low, high = np.quantile(real, [0.02, 0.98])
  assert ((found >= low) & (found <= high)).all()
  assert choice.log['chosen_outside'] == 0
  assert choice.log['accepted']['right'] == pytest.approx(1, abs=0.02)
  for name in NAMES:
    assert 36 <= choice.log['chosen'][name] <= 44


def test_argmax_takes_the_likeliest_and_no_other(real):
  scores = some((1.2, 0.0, -1.2))
  choice = path_selection.choose(scores, real, NAMES, 'argmax')
  np.testing.assert_array_equal(taken(scores, choice), scores.max((0, 1)))
  assert choice.log['chosen']['dull'] > 100
  assert choice.log['mean_score']['chosen'] > 2


def test_a_family_that_never_looks_real_keeps_its_share_and_is_named(real):
  scores = some((0.0, 0.0, -40.0))
  choice = path_selection.choose(scores, real, NAMES)
  assert choice.log['chosen']['wild'] == 36
  assert choice.log['chosen_outside'] == 36
  assert choice.log['accepted']['wild'] == 0
  found = taken(scores, choice)
  assert path_selection.off_histogram(found[found > -20], real) < 0.06


@pytest.mark.parametrize(
  'stocks, expected', [(200, (60, 73)), (3, (1, 1)), (2, (0, 1)), (10, (3, 4))]
)
def test_shares_may_differ_by_a_tenth(stocks, expected):
  assert path_selection.quota(stocks, 3) == expected
  assert 3 * expected[0] <= stocks <= 3 * expected[1]


def test_nothing_real_to_compare_with_is_refused():
  with pytest.raises(ValueError, match='no real path .*num_days'):
    path_selection.choose(some((0, 0, 0)), np.array([]), NAMES)


@pytest.fixture(scope='module')
def panel():
  return simulate.simulate(
    seed=1, num_days=300, num_stocks=36, alphas=(), strength=0.0
  ).panel


def test_others_are_stocks_that_the_source_does_not_have(panel):
  source = controls.make_source(panel, 12)
  others = path_selection.other_stocks(panel, source, 5)
  assert len(others.symbols) == 5
  assert not set(others.symbols) & set(source.symbols)
  members = int(np.asarray(panel.mask).any(0).sum())
  whole = controls.make_source(panel, members - 1)
  with pytest.raises(ValueError, match='needs 2 stocks or more'):
    path_selection.other_stocks(panel, whole, 5)


def test_the_evaluator_prefers_real_bars_to_wild_ones(panel, tmp_path):
  source = controls.make_source(panel, 12)
  options = dict(
    width=8, num_components=2, num_updates=50, batch_size=6, window=20,
    learning_rate=1e-2,
  )  # fmt: skip
  evaluator = path_selection.fit(
    path_selection.other_stocks(panel, source, 6), options, 0, tmp_path,
    lambda text: None,
  )  # fmt: skip
  known = path_selection.real_scores(evaluator, source, 150)
  assert len(known) > 20 and np.isfinite(known).all()
  values = np.nan_to_num(source.values)
  wild = values.copy()
  wild[bars.BODY] *= 6
  one, other = (path_selection.scores(evaluator, x) for x in (values, wild))
  assert one.shape == (12,) and (one > other + 0.3).all()
  # The place of a vwap that says nothing is not judged.
  blind = evaluator._replace(typical=True)
  moved = values.copy()
  moved[bars.PLACE] += 1
  np.testing.assert_array_equal(
    *(path_selection.scores(blind, x) for x in (values, moved))
  )


def of_size(source, family, size):
  """A generator of independent normal channels of this size."""

  def draw(params, rng_key, context):
    del params
    shape = (*context.shape[:2], len(bars.CHANNELS))
    return size * jax.random.normal(rng_key, shape)

  network = path_fit.Network(None, None, draw)
  levels = two_levels.split(source)
  return paths.Generator(family, levels, source, None, network, None, None)


def calm(params, series):
  """A score that is higher the smaller bodies are."""
  del params
  return -jnp.nanmean(jnp.abs(series[..., bars.BODY]), axis=1)


SIZES = dict(zip(paths.FAMILIES, (0.5, 1.0, 2.0), strict=True))


def test_an_ensemble_is_a_market_of_several_families(
  panel, tmp_path, monkeypatch
):
  """Through the names of the config; the networks are made up."""
  source = controls.make_source(panel, 12)
  config = configs.get_config('simulated')
  config.synthetic.num_days = 80
  evaluator = path_selection.Evaluator(calm, None, False)
  monkeypatch.setattr(
    market_families.paths, 'fit',
    lambda source, family, *rest: of_size(source, family, SIZES[family]),
  )  # fmt: skip
  monkeypatch.setattr(
    market_families.path_selection, 'fit', lambda *rest: evaluator
  )
  said = []
  given = market_families.Given(config, tmp_path, panel, source, said.append)
  make = market_families.make('ensemble', given)
  made = make(7)
  assert made.symbols == source.symbols and made.mask.all()
  log = json.loads((tmp_path / 'ensemble_7.json').read_text())
  assert log['chosen'] == dict.fromkeys(paths.FAMILIES, 4)
  assert log['common_path'] == 'transformer'  # 7 % 3 is 1.
  assert log['accepted']['gru'] > log['accepted']['diffusion']
  assert said[0].startswith('ensemble: within the band are gru ')
  np.testing.assert_array_equal(make(7).features, made.features)
  config.ensemble.rule = 'argmax'
  likeliest = market_families.make('ensemble_independent', given)
  dull = likeliest(7)
  log = json.loads((tmp_path / 'ensemble_independent_7.json').read_text())
  assert log['chosen']['gru'] == 12
  spread = [np.diff(np.log(x.features[3]), axis=0).std() for x in (dull, made)]
  assert spread[0] < 0.7 * spread[1]
