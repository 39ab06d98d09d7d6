"""The rules of a backtest, and what they may be."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from alphajax.data.panel import Panel
from alphajax.judge.portfolios import RULES
from alphajax.judge.quotes import DEALS

BASIS_POINT = 1e-4
YEAR = 252  # Trading days.
AMOUNTS = ('buy_cost', 'sell_cost', 'slippage', 'min_fee', 'borrow_cost')


class BacktestSpec(NamedTuple):
  """Rules of a backtest. Costs are in basis points of what is traded.

  top_k, drop_n: stocks held, and exchanged on a day at most; the paper's.
  buy_cost, sell_cost: commission, and with it, in `sell_cost`, China's stamp
    duty of 10 basis points on sales; qlib's defaults, a common yardstick.
  deal: when the signal of day t is traded. `next_open`, since it is known after
    the close of t; `next_close` leaves a day; `close` is what the paper's label
    has, and cannot be done.
  portfolio: `top_k`; `quantile`, long the best of `groups` groups and short
    the worst; `signal`, in proportion to it. See `portfolios`.
  rebalance: top_k trades all it holds to equal weight each day, as the paper
    says; False trades only what comes and goes.
  groups: of quantile.
  short: False leaves quantile and signal without their short side.
  every: days between two exchanges; what leaves the index is sold on any day.
  stamp_duty: on sales, on top of `sell_cost`: basis points, or 'china', 10 and
    from 2023-08-28 on 5; then give the commission alone as `sell_cost`. Off.
  slippage: of the price, either side. Off: give what your market asks; see the
    break-even cost of `performance` for what a signal can bear.
  min_fee: money, of an order. Off, since it depends on `capital`.
  borrow_cost: a year, of what is short. Off, as it differs by stock.
  capital: money at the start, which only `min_fee` reads.
  limits: `board`: China's price limits by symbol, none for other symbols; a
    share such as 0.1 for all; None: off. A stock at its upper limit cannot be
    bought, at its lower one not sold. Needs adjusted prices, see `quotes`; ST
    stocks are unknown, see `boards`.
  gone_after: days without a price after which a stock has left the data and is
    paid out at its last price, without a cost. A stock that is only suspended
    looks alike until it returns, often far lower: hence a long wait, a year.
    Nobody knows on the day which it is, so what ends with the data is not paid
    out early, and one that has left the index neither: an index drops what is
    suspended for long, and its last price is not what it returns at. Until then
    its money is frozen, which `BacktestResult.frozen` counts and the notes say.
  benchmark: None: members of the universe, equally weighted, without costs;
    daily returns, one a day of the panel; or the name of a feature that holds
    the level of an index.
  """

  top_k: int = 60
  drop_n: int = 5
  buy_cost: float = 5.0
  sell_cost: float = 15.0
  deal: str = 'next_open'
  portfolio: str = 'top_k'
  rebalance: bool = True
  groups: int = 10
  short: bool = True
  every: int = 1
  stamp_duty: float | str = 0.0
  slippage: float = 0.0
  min_fee: float = 0.0
  borrow_cost: float = 0.0
  capital: float = 1e7
  limits: str | float | None = 'board'
  gone_after: int = YEAR
  benchmark: Sequence[float] | np.ndarray | str | None = None


PAPER = BacktestSpec()


def read(values: Mapping[str, Any], where: str) -> BacktestSpec:
  """The rules that a config or flags give; those not given are the default.

  Numbers may be text where the field takes words too: `stamp_duty`, `limits`,
  whose None is 'none' or '', as that of `benchmark` is.

  Args:
    values: by name of the field.
    where: what stands before the name in an error, `config.backtest.`.

  Raises:
    ValueError: an unknown name or a bad value.
  """
  fields = {}
  for name, value in values.items():
    if name not in BacktestSpec._fields:
      raise ValueError(
        f'{where}{name}: there is no such rule; known are '
        f'{", ".join(BacktestSpec._fields)}'
      )
    fields[name] = _read(name, value, where)
  spec = BacktestSpec(**fields)
  check_values(spec, where)
  return spec


def _read(name: str, value: Any, where: str) -> Any:
  """One value of `read`, of the type that the field has."""
  default = getattr(PAPER, name)
  if name in ('stamp_duty', 'limits', 'benchmark'):
    if value in (None, '', 'none'):
      return default if name == 'stamp_duty' else None
    return _number_or_word(value) if name != 'benchmark' else value
  known: tuple[type, ...] = (type(default),)
  if isinstance(default, float):
    known = (float, int)
  if not isinstance(value, known) or (
    isinstance(value, bool) and known != (bool,)
  ):
    kinds = {bool: 'True or False', int: 'a whole number', str: 'a word'}
    expected = kinds.get(type(default), 'a number')
    raise ValueError(f'{where}{name}={value!r}: expected {expected}')
  return value


def _number_or_word(value: Any) -> Any:
  """The number that a text says, else the text."""
  if isinstance(value, bool):
    return value
  try:
    return float(value)
  except (TypeError, ValueError):
    return value


def check(spec: BacktestSpec, panel: Panel) -> None:
  """Refuses rules that cannot be followed on a panel.

  Raises:
    ValueError: names the field, its value and what was expected.
  """
  check_values(spec)
  _check_universe(spec, panel)
  if spec.benchmark is not None and not isinstance(spec.benchmark, str):
    _check_benchmark(np.asarray(spec.benchmark), len(panel.dates))


def check_values(spec: BacktestSpec, where: str = '') -> None:
  """Refuses rules that can be followed on no panel, see `check`.

  where: what stands before the name of a field.
  """
  for name, value, known in (
    ('deal', spec.deal, DEALS),
    ('portfolio', spec.portfolio, RULES),
  ):
    if value not in known:
      raise ValueError(
        f'unknown {where}{name} {value!r}: one of {", ".join(known)}'
      )
  amounts = {name: getattr(spec, name) for name in AMOUNTS}
  if spec.stamp_duty != 'china':
    amounts['stamp_duty'] = spec.stamp_duty
  for name, value in amounts.items():
    _check_amount(where + name, value)
  sale = spec.sell_cost + spec.slippage
  sale += 0.0 if spec.stamp_duty == 'china' else float(spec.stamp_duty)
  if max(sale, spec.buy_cost + spec.slippage) >= 1 / BASIS_POINT:
    raise ValueError(
      f'{where}buy_cost={spec.buy_cost}, sell_cost={spec.sell_cost}, '
      f'stamp_duty={spec.stamp_duty} and slippage={spec.slippage} take all '
      'that is traded: 10,000 basis points; expected less'
    )
  for name, least in (
    ('top_k', 1), ('drop_n', 0), ('groups', 2), ('every', 1), ('gone_after', 1)
  ):  # fmt: skip
    value = getattr(spec, name)
    if value != int(value) or value < least:
      raise ValueError(
        f'{where}{name}={value!r}: expected a whole number, {least} or more'
      )
  if spec.portfolio == 'top_k' and spec.drop_n > spec.top_k:
    raise ValueError(
      f'{where}drop_n={spec.drop_n} is more than {where}top_k={spec.top_k}: no '
      'more can be exchanged than are held'
    )
  if not (math.isfinite(spec.capital) and spec.capital > 0):
    raise ValueError(f'{where}capital={spec.capital!r}: expected money above 0')
  _check_limits(where, spec.limits)


def _check_amount(name: str, value: float | str) -> None:
  if isinstance(value, str | bool):
    raise ValueError(f"{name}={value!r}: expected basis points or 'china'")
  if not (math.isfinite(value) and value >= 0):
    unit = 'money' if name.endswith('min_fee') else 'basis points'
    raise ValueError(f'{name}={value!r}: expected {unit}, 0 or more')


def _check_limits(where: str, limits: str | float | None) -> None:
  if limits is None or limits == 'board':
    return
  if isinstance(limits, str | bool) or not 0 < limits < math.inf:
    raise ValueError(
      f"{where}limits={limits!r}: expected 'board', a share such as 0.1, or "
      'none'
    )


def _check_universe(spec: BacktestSpec, panel: Panel) -> None:
  members = np.asarray(panel.mask).sum(1)
  if not members.any():
    raise ValueError('the universe is empty on every day of the panel')
  size = spec.top_k if spec.portfolio == 'top_k' else spec.groups
  name = 'top_k' if spec.portfolio == 'top_k' else 'groups'
  if size > members.max():
    raise ValueError(
      f'{name}={size}, but the universe has {members.max()} members at most '
      f'({int(np.median(members))} on the median day); choose {name} below'
    )


def _check_benchmark(benchmark: np.ndarray, num_days: int) -> None:
  if benchmark.shape != (num_days,):
    raise ValueError(
      f'the benchmark has shape {benchmark.shape}, but the panel has '
      f'{num_days} days: expected one daily return each, ({num_days},)'
    )
  missing = np.flatnonzero(~np.isfinite(benchmark))
  if missing.size:
    raise ValueError(
      f'the benchmark has no value on {missing.size} days, the first is day '
      f'{missing[0]}; expected a return on each, 0 where it did not trade'
    )
