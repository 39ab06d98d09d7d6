"""The best of many: random formulas, and deflated Sharpe ratios."""

import functools

import numpy as np
import pytest
from scipy import stats

from alphajax.data import panel as panel_lib
from alphajax.data import simulate
from alphajax.data.panel import LabelSpec
from alphajax.factor import evaluate
from alphajax.judge import figures, selection
from alphajax.language import environment, formula

LABEL = LabelSpec(0, 5)


@functools.cache
def splits():
  market = simulate.simulate(
    seed=1, num_days=260, num_stocks=30, alphas=(), strength=0.0
  )
  panel = market.panel
  dates = panel.dates
  make = functools.partial(panel_lib.split, panel, lookback=20, label=LABEL)
  return (
    make('train', start=dates[0], end=dates[150]),
    make('valid', start=dates[151], end=dates[-1]),
  )


@functools.cache
def language():
  """A language of few formulas."""
  return environment.make(
    'sem_k', max_length=2, windows=(5,), operators=('Abs',)
  )


def test_the_best_of_random_formulas():
  train, valid = splits()
  texts = ('close/vwap', 'Mean(volume,5)', 'high-low', 'Abs(high-low)', 'open')
  formulas = [formula.parse(text) for text in texts]
  found = selection.best_of(formulas, train, valid, LABEL)
  values = evaluate.values(formulas, train.panel)
  ics = [
    figures.of_signal(each, train, LABEL)[0]['ic']['mean'] for each in values
  ]
  best = int(np.argmax(np.abs(ics)))
  assert found.formula == formula.to_text(formulas[best])
  assert len(set(np.abs(ics))) == 4 and found.sign == np.sign(ics[best])
  assert found.selected == pytest.approx(abs(ics[best]), abs=1e-6)
  (signal,) = evaluate.values([formulas[best]], valid.panel)
  expected, daily = figures.of_signal(found.sign * signal, valid, LABEL)
  assert found.figures == expected
  np.testing.assert_array_equal(found.daily['ic'], daily['ic'])


def test_the_same_seed_draws_the_same():
  once, again = (selection.draw(language(), 10, seed=3) for _ in range(2))
  assert once == again != selection.draw(language(), 10, seed=4)
  assert len({formula.key(each) for each in once}) == 10


def test_the_example_of_bailey_and_lopez_de_prado():
  """Section "A numerical example": annual 2.5, five years, 100 trials."""
  threshold = selection.best_sharpe(100, 0.5 / 250)
  assert threshold == pytest.approx(0.1132, abs=5e-5)
  found = selection.sharpe_probability(2.5 / 250**0.5, threshold, 1250, -3, 10)
  assert found == pytest.approx(0.9004, abs=5e-5)
  # Of 46 trials it would have been above .95.
  threshold = selection.best_sharpe(46, 0.5 / 250)
  found = selection.sharpe_probability(2.5 / 250**0.5, threshold, 1250, -3, 10)
  assert found == pytest.approx(0.9505, abs=5e-4)


def test_a_deflated_sharpe_ratio_from_returns():
  returns = 0.001 + 0.01 * np.random.default_rng(0).standard_t(5, 700)
  found = selection.deflated_sharpe(returns, 20)
  assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
  assert found.threshold == selection.best_sharpe(20, 1 / 699)
  assert found.probability == selection.sharpe_probability(
    found.sharpe, found.threshold, 700, stats.skew(returns),
    stats.kurtosis(returns) + 3,
  )  # fmt: skip
  alone = selection.deflated_sharpe(returns, 1)
  assert alone.threshold == 0 and alone.probability > found.probability


def test_the_expected_best_is_the_best_that_is_expected():
  sharpe = np.random.default_rng(0).normal(0, 0.1, (4000, 50)).max(1)
  expected = selection.best_sharpe(50, 0.01)
  assert sharpe.mean() == pytest.approx(expected, rel=0.02)


def test_without_skill_few_are_above_the_best_of_as_many():
  rng, count, trials = np.random.default_rng(1), 100, 20
  above = 0
  for _ in range(count):
    returns = rng.normal(0, 0.01, (trials, 300))
    best = returns[np.argmax(returns.mean(1) / returns.std(1))]
    above += selection.deflated_sharpe(best, trials).probability > 0.95
  assert above <= stats.binom.ppf(0.9995, count, 0.05)


BAD = (
  (lambda: selection.draw(language(), 0), '0 random formulas'),
  (lambda: selection.draw(language(), 50),
   'distinct formulas among 2500 drawn, and 50 were asked'),
  (lambda: selection.deflated_sharpe([0.1, np.nan, 0.2], 3), '1 that are not'),
  (lambda: selection.deflated_sharpe([0.1, 0.2], 3), 'expected 3 or more'),
  (lambda: selection.deflated_sharpe([0.1] * 9, 3), 'the same every day'),
  (lambda: selection.deflated_sharpe([0.1, 0, 0.2], 0), 'trials=0'),
  (lambda: selection.best_sharpe(3, -1.0), 'variance of 0 or more'),
)  # fmt: skip


@pytest.mark.parametrize('call, message', BAD)
def test_bad_input_is_refused_with_what_was_expected(call, message):
  with pytest.raises(ValueError, match=message):
    call()
