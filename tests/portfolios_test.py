"""Which stocks a portfolio wants, against sorting; and what boards allow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphajax.judge import boards, portfolios

S = 33
first = jax.jit(portfolios.first)


@functools.partial(jax.jit, static_argnames='name')
def aim(name, market, book, sizes):
  return portfolios.RULES[name](market, book, sizes)


def by_sorting(chosen, key, count):
  ranked = [s for s in np.argsort(key, kind='stable') if chosen[s]]
  return np.isin(np.arange(len(key)), ranked[: max(count, 0)])


@pytest.mark.parametrize('seed', range(8))
def test_the_first_are_those_of_sorting(seed):
  """With ties, infinite keys, empty sets, and counts of 0 and more than all."""
  rng = np.random.default_rng(seed)
  for _ in range(40):
    key = rng.normal(size=S).astype(np.float32)
    if seed % 2:
      key = key.round(0)
    key[rng.random(S) < 0.2] = np.inf
    if seed == 7:
      key[:] = 2.0
    chosen = rng.random(S) < rng.choice([0.0, 0.1, 0.5, 1.0])
    for count in (-1, 0, 1, int(rng.integers(2, S)), S, S + 5):
      found = first(chosen, key, np.sort(key), jnp.int32(count))
      np.testing.assert_array_equal(found, by_sorting(chosen, key, count))


@pytest.mark.parametrize('width', [1, 2, 64, 65])
def test_the_first_of_any_number_of_stocks(width):
  key = np.random.default_rng(0).normal(size=width).astype(np.float32)
  chosen = np.ones(width, bool)
  for count in {0, 1, width // 2, width - 1, width}:
    found = first(chosen, key, np.sort(key), jnp.int32(count))
    np.testing.assert_array_equal(found, by_sorting(chosen, key, count))


def market_of(signal, member=None, can_buy=None, can_sell=None):
  all_true = np.ones(len(signal), bool)
  key = np.where(np.isfinite(signal), -np.asarray(signal, np.float32), np.inf)
  return portfolios.Market(
    key,
    np.sort(key),
    *(
      all_true if x is None else np.array(x)
      for x in (member, can_buy, can_sell)
    ),
  )


def target(name, signal, value, cash=0.0, sizes=(), **market):
  sizes = dict(top_k=2, drop_n=1, rebalance=True, groups=3, short=True) | dict(
    sizes
  )
  with jax.enable_x64(True):
    found = aim(
      name,
      market_of(np.array(signal, np.float32), **market),
      portfolios.Book(np.array(value, float), np.float64(cash)),
      portfolios.Sizes(
        **{
          key: np.bool_(x) if isinstance(x, bool) else np.int32(x)
          for key, x in sizes.items()
        }
      ),
    )
    share = np.where(found.trade, found.share, np.nan)
  return share.tolist()


def check(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-15)


STAY = np.nan  # Not traded.


def test_top_k_exchanges_the_worst_for_the_best():
  # 2 and 3 are held, 0 and 1 are better: one is exchanged, 3 for 0.
  check(target('top_k', [4, 3, 2, 1], [0, 0, 1, 1]), [0.5, STAY, 0.5, 0])
  both = target('top_k', [4, 3, 2, 1], [0, 0, 1, 1], sizes={'drop_n': 2})
  check(both, [0.5, 0.5, 0, 0])
  none = target('top_k', [4, 3, 2, 1], [0, 0, 1, 1], sizes={'drop_n': 0})
  check(none, [STAY, STAY, 0.5, 0.5])
  # Nothing is sold for a worse one.
  check(target('top_k', [4, 3, 2, 1], [1, 1, 0, 0]), [0.5, 0.5, STAY, STAY])


def test_top_k_without_a_signal_or_a_price():
  nan = np.nan
  # A held stock without a signal ranks last; one not held is not bought.
  check(target('top_k', [nan, 3, nan, 1], [1, 1, 0, 0]), [0, 0.5, STAY, 0.5])
  check(target('top_k', [nan, nan, nan, 1], [1, 1, 0, 0]), [0.5, 0, STAY, 0.5])
  # What cannot be bought leaves its turn to the next.
  found = target('top_k', [4, 3, 2, 1], [0] * 4, 1.0, can_buy=[0, 1, 1, 1])
  check(found, [STAY, 0.5, 0.5, STAY])
  # What cannot be sold keeps its place.
  found = target('top_k', [4, 3, 2, 1], [0, 0, 1, 1], can_sell=[1, 1, 1, 0])
  check(found, [0.5, STAY, 0, 0.5])
  # What has left the index gives its place up on top of drop_n.
  found = target('top_k', [4, 3, 2, 1], [0, 0, 1, 1], member=[1, 1, 0, 1])
  check(found, [0.5, 0.5, 0, 0])


def test_top_k_without_rebalance_divides_the_cash():
  sizes = {'rebalance': False, 'top_k': 3}
  found = target('top_k', [4, 3, 2, 1], [0, 0, 2, 1], cash=1.0, sizes=sizes)
  # 0 takes the free place, 1 that of 3: the cash and what 3 brings, halved.
  check(found, [0.25, 0.25, STAY, 0])


def test_quantiles_and_shares():
  found = target('quantile', [1, 6, 5, 2, 3, 4], [0] * 6, 1.0)
  check(found, [-0.25, 0.25, 0.25, -0.25, 0, 0])
  long = target('quantile', [1, 6, 5, 2, 3, 4], [0] * 6, sizes={'short': False})
  check(long, [0, 0.5, 0.5, 0, 0, 0])
  # Of equal signals no stock is on both sides.
  ties = target('quantile', [1, 1, 1, 1], [0] * 4, sizes={'groups': 2})
  check(ties, [0.25, 0.25, -0.25, -0.25])
  few = target('quantile', [1, np.nan, np.nan, 2], [1, 0, 0, 0])
  check(few, [STAY] * 4)
  found = target('signal', [3, 1, np.nan, 2], [0] * 4)
  check(found, [0.5, -0.5, 0, 0])
  long = target('signal', [3, 1, 9, 4], [0] * 4, sizes={'short': False})
  check(long, [0, 0, 1, 0])
  check(target('signal', [0.1, 0.1, 0.1], [1, 0, 0]), [STAY] * 3)


def test_boards_by_symbol():
  for symbol, name in {
    'SH600519': 'Shanghai main', '600519.SH': 'Shanghai main',
    '600519': 'Shanghai main', 'sh.601318': 'Shanghai main',
    '688981.SS': 'STAR', 'SH689009': 'STAR', 'SZ000001': 'Shenzhen main',
    'SZ002415': 'Shenzhen main', '300750.SZ': 'ChiNext', 'SZ301269': 'ChiNext',
    'BJ430047': 'Beijing', '830799': 'Beijing', 'SZ302132': 'ChiNext',
  }.items():  # fmt: skip
    assert boards.board(symbol).name == name, symbol
  for symbol in ('AAPL', 'BRK.B', 'SH000300', 'SZ399001', '12345', '', 's1'):
    assert boards.board(symbol) is None, symbol


def test_limits_by_day():
  days = ['2019-07-19', '2020-08-21', '2020-08-24', '2024-12-31']
  found = boards.limits(['SZ300750', 'SH600519', 'SH688981', 'IBM'], days)
  assert found[:, 0].tolist() == [0.1, 0.1, 0.2, 0.2]
  assert (found[:, 1] == 0.1).all() and (found[:, 2] == 0.2).all()
  assert np.isinf(found[:, 3]).all()
  rates = boards.dated(
    boards.STAMP_DUTY, ['2008-01-01', '2023-08-27', '2023-08-28']
  )
  assert rates.tolist() == [10.0, 10.0, 5.0]
