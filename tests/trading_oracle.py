"""A backtest as one would do it by hand: stock by stock, day by day.

Plain Python floats, dictionaries by column, no array arithmetic; slow.
"""

import math

COUNTS = ('left_index', 'left_data', 'blocked')
LAGS = {'next_open': 1, 'next_close': 1, 'close': 0}


def known(price):
  return math.isfinite(price) and price > 0


def simulate(signal, opens, closes, volumes, mask, limits, spec):
  """Lists by day: nav, cash, turnover, cost, left_index, left_data, blocked,
  weights (a dictionary a day). limits: [T][S], infinite where there is none.
  """
  num_days, num_stocks = len(signal), len(signal[0])
  stocks = range(num_stocks)
  prices = opens if spec.deal == 'next_open' else closes
  lag = LAGS[spec.deal]
  cash, shares = 1.0, {}
  last = {}  # Last known price, at the close of the day before.
  idle = dict.fromkeys(stocks, 0)  # Days without a price, today included.
  rows = {
    name: [] for name in ('nav', 'cash', 'turnover', 'cost', *COUNTS, 'weights')
  }
  for t in range(num_days):
    turnover = cost = 0.0
    left_index = left_data = blocked = 0
    for s in stocks:
      seen = known(closes[t][s]) or known(prices[t][s])
      idle[s] = 0 if seen else idle[s] + 1
    if t >= lag:
      for s in list(shares):
        if idle[s] >= spec.gone_after:
          cash += shares.pop(s) * last[s]
          left_data += 1
      borrowed = sum(-x * last[s] for s, x in shares.items() if x < 0)
      interest = borrowed * spec.borrow_cost * 1e-4 / 252
      cash -= interest

      price, can_buy, can_sell = {}, set(), set()
      for s in stocks:
        price[s] = prices[t][s] if known(prices[t][s]) else last.get(s)
        if not known(prices[t][s]) or volumes[t][s] == 0:
          continue
        move = prices[t][s] / last[s] - 1 if s in last else 0.0
        if s not in last or move < limits[t][s] - 0.002:
          can_buy.add(s)
        if s not in last or move > 0.002 - limits[t][s]:
          can_sell.add(s)
      value = {s: x * price[s] for s, x in shares.items()}
      equity = cash + sum(value.values())
      members = {s for s in stocks if mask[t - lag][s]}
      score = {
        s: signal[t - lag][s]
        for s in members
        if math.isfinite(signal[t - lag][s])
      }
      goals = {}
      if score and (t - lag) % spec.every == 0:
        goals = PORTFOLIOS[spec.portfolio](
          score, members, value, cash, equity, can_buy, can_sell, spec
        )
      for s in value:
        if s not in members:
          goals[s] = 0.0

      orders = {s: goal - value.get(s, 0.0) for s, goal in goals.items()}
      for s, want in orders.items():
        if goals[s] and abs(want) < 1e-9 * equity:
          orders[s] = 0.0
      for s, want in orders.items():
        if want < 0 and s not in can_sell or want > 0 and s not in can_buy:
          blocked += 1
      minimum = spec.min_fee / spec.capital
      duty = stamp_duty(spec) * 1e-4
      slip = spec.slippage * 1e-4
      raised = 0.0
      for s, want in orders.items():
        if want < 0 and s in can_sell:
          cost += max(spec.sell_cost * 1e-4 * -want, minimum)
          cost += (duty + slip) * -want
          raised += -want
          shares[s] = shares.get(s, 0.0) + want / price[s]
          if goals[s] == 0:
            del shares[s]
            left_index += s not in members
      cost = min(cost, raised)
      cash += raised - cost
      traded = raised
      buys = {s: w for s, w in orders.items() if w > 0 and s in can_buy}
      need = sum(buys.values()) * (1 + (spec.buy_cost + spec.slippage) * 1e-4)
      room = max(cash - minimum * len(buys), 0.0)
      part = min(1.0, room / need) if need else 0.0
      for s, want in buys.items():
        paid = want * part
        if not paid:
          continue
        fee = max(spec.buy_cost * 1e-4 * paid, minimum) + slip * paid
        cash -= paid + fee
        cost += fee
        traded += paid
        shares[s] = shares.get(s, 0.0) + paid / price[s]
        if goals[s] == 0 and part == 1.0:  # A short position closed.
          del shares[s]
          left_index += s not in members
      if equity <= 0:
        cost = 0.0
      else:
        turnover = traded / 2 / equity
        cost = (cost + interest) / equity
    for s in stocks:
      if known(closes[t][s]):
        last[s] = closes[t][s]
      elif known(prices[t][s]):
        last[s] = prices[t][s]
    nav = cash + sum(x * last[s] for s, x in shares.items())
    weights = {s: x * last[s] / nav for s, x in shares.items() if nav > 0}
    for name, value in dict(
      nav=nav, cash=cash, turnover=turnover, cost=cost, left_index=left_index,
      left_data=left_data, blocked=blocked, weights=weights,
    ).items():  # fmt: skip
      rows[name].append(value)
  return rows


def stamp_duty(spec):
  assert spec.stamp_duty != 'china', 'the oracle knows no dates'
  return spec.stamp_duty


def by_rank(score, stocks):
  """The best first; what has no score last; of equals the first column."""
  return sorted(stocks, key=lambda s: (-score.get(s, -math.inf), s))


def top_k(score, members, value, cash, equity, can_buy, can_sell, spec):
  """Goals of value by stock; a stock that is not named is left alone."""
  held = set(value)
  stuck = held - can_sell
  stay = (held & members) - stuck
  free = spec.top_k - len(stuck) - len(stay)
  others = [s for s in by_rank(score, score) if s not in held and s in can_buy]
  best = others[: max(free + spec.drop_n, 0)]
  places = max(spec.top_k - len(stuck), 0)
  keep = by_rank(score, [*stay, *best])[:places]
  kept = (set(keep) & held) | stuck
  come = set(keep) - held
  goals = dict.fromkeys(held - kept, 0.0)
  if spec.rebalance:
    each = max(equity, 0.0) / spec.top_k
    goals |= dict.fromkeys(kept, each)
  else:
    raised = cash + sum(value[s] for s in held - kept)
    each = raised / max(spec.top_k - len(kept), 1)
  return goals | dict.fromkeys(come, each)


def quantile(score, members, value, cash, equity, can_buy, can_sell, spec):
  size = len(score) // spec.groups
  if not size:
    return {}
  ranked = by_rank(score, score)
  goals = dict.fromkeys([*score, *value], 0.0)
  side = max(equity, 0.0) * (0.5 if spec.short else 1.0) / size
  for s in ranked[:size]:
    goals[s] = side
  if spec.short:
    goals |= dict.fromkeys(ranked[-size:], -side)
  return goals


def proportional(score, members, value, cash, equity, can_buy, can_sell, spec):
  mean = math.fsum(score.values()) / len(score)
  apart = {s: x - mean for s, x in score.items()}
  if not spec.short:
    apart = {s: max(x, 0.0) for s, x in apart.items()}
  gross = math.fsum(abs(x) for x in apart.values())
  if len(set(score.values())) == 1:
    return {}
  goals = dict.fromkeys(value, 0.0)
  return goals | {s: max(equity, 0.0) * x / gross for s, x in apart.items()}


PORTFOLIOS = {'top_k': top_k, 'quantile': quantile, 'signal': proportional}
