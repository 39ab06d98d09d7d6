"""The rules of a backtest in words."""

from collections.abc import Mapping
from typing import Any

from alphajax.judge.boards import STAMP_DUTY
from alphajax.report.plot import percent


def text(spec: Mapping[str, Any]) -> str:
  """The rules of a backtest in words; older ones do not say all of them."""
  short = spec.get('short', True)
  what = {
    'top_k': f'the {spec["top_k"]} highest, equally weighted, at most '
    f'{spec["drop_n"]} exchanged a day',
    'quantile': f'the highest of {spec["groups"]} groups'
    + (' less the lowest' if short else ''),
    'signal': 'in proportion to the signal' + ('' if short else ', long alone'),
  }[spec['portfolio']]
  when = {
    'next_open': 'at the next open',
    'next_close': 'at the next close',
    'close': 'at the same close, which cannot be done',
  }[spec['deal']]
  if spec.get('every', 1) > 1:
    when += f' of one day in {spec["every"]}'
  if not spec.get('rebalance', True):
    when += ' only what comes and goes'
  return f'Holds {what}; trades {when}; {_charges(spec)}.{_more_rules(spec)}'


def _charges(spec: Mapping[str, Any]) -> str:
  """What is charged, all of it."""
  parts = [
    f'pays {spec["buy_cost"]:g} basis points to buy and '
    f'{spec["sell_cost"]:g} to sell'
  ]
  duty = spec.get('stamp_duty')
  if duty == 'china':
    steps = ', '.join(f'{rate:g} from {day}' for day, rate in STAMP_DUTY)
    parts.append(f"China's stamp duty on sales, {steps}")
  elif duty:
    parts.append(f'a stamp duty of {duty:g} on sales')
  if spec.get('slippage'):
    parts.append(f'{spec["slippage"]:g} of slippage either side')
  if spec.get('min_fee'):
    money = (
      f'{spec["min_fee"]:g} an order of a capital of {spec["capital"]:,.0f}'
    )
    parts.append(f'at least {money}')
  if spec.get('borrow_cost'):
    parts.append(f'{spec["borrow_cost"]:g} a year of what is short')
  return '; '.join(parts)


def _more_rules(spec: Mapping[str, Any]) -> str:
  """Price limits, what is gone, and the benchmark, where they are told."""
  said = ''
  if spec.get('limits') == 'board':
    said += (
      " Price limits are those of China's boards, of symbols that are on one."
    )
  elif spec.get('limits'):
    said += f' Prices are limited to {percent(spec["limits"])} a day.'
  if 'gone_after' in spec:
    said += (
      f' A stock without a price for {spec["gone_after"]} days is paid out at '
      'its last one.'
    )
  if spec.get('benchmark'):
    said += f' The benchmark is {spec["benchmark"]}.'
  return said
