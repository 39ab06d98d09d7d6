"""The goals of the benchmark, each judged by the figures of a part."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

# Milliseconds a node at window 40.
LIMITS = {
  1.0: ('sums, extrema, references', 'Sum Mean Max Min Ref Delta'),
  5.0: ('moments, Cov, Corr', 'Std Var Skew Kurt Cov Corr'),
}
ANY_LIMIT = 8.0
# Seconds a formula evaluated, in those of random search.
OF_RANDOM_SEARCH = {'evolution': 1.5, 'AlphaCFG, paper': 3}


class Goal(NamedTuple):
  """A figure and what it should be: at least that, or `more` false, at most."""

  what: str
  value: float
  goal: float
  unit: str
  more: bool = True

  def judged(self) -> dict[str, Any]:
    """The row of the report, with whether it is `met`."""
    met = self.value >= self.goal if self.more else self.value <= self.goal
    return {**self._asdict(), 'met': bool(met)}


def limit_of(operator: str) -> float:
  """Milliseconds that a node of the operator may take."""
  for limit, (_, names) in LIMITS.items():
    if operator in names.split():
      return limit
  return ANY_LIMIT


def has_goal(row: Mapping[str, Any]) -> bool:
  """The goals are for window 40."""
  return row['window'] in (None, 40)


def of_parts(parts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
  """The goals that these parts can judge, by medians."""
  gpu = any(
    record.get('backend') not in (None, 'cpu') for record in parts.values()
  )
  return [
    goal.judged()
    for name, judge in JUDGES.items()
    if name in parts
    for goal in judge(parts[name]['result'], gpu)
  ]


def _formulas(result, gpu: bool) -> Iterator[Goal]:
  if gpu:
    rate = result['alphajax']['formulas_per_s']
    yield Goal('formulas', rate, 30_000, '/ s')
  if result['peer']:
    yield Goal('formulas, times the PyTorch peer', result['ratio'], 30, 'x')


def _operators(result, gpu: bool) -> Iterator[Goal]:
  del gpu
  rows = [row for row in result['operators'] if has_goal(row)]
  for limit, (what, _) in {**LIMITS, ANY_LIMIT: ('any operator', '')}.items():
    chosen = [
      row for row in rows if limit in (limit_of(row['operator']), ANY_LIMIT)
    ]
    if chosen:
      slowest = max(chosen, key=lambda row: row['node']['median'])
      what = f'{what}, a node: slowest is {slowest["operator"]}'
      yield Goal(what, 1e3 * slowest['node']['median'], limit, 'ms', False)


def _search(result, gpu: bool) -> Iterator[Goal]:
  row = result['search'][-1]
  what = f'simulations, {row["games"]} games x {row["simulations"]}'
  rate = row['simulations_per_s']['median']
  yield Goal(what, rate, 500_000 if gpu else 25_000, '/ s')


def _emission(result, gpu: bool) -> Iterator[Goal]:
  for order, row in result['orders'].items():
    what = f'formulas emitted, {order}'
    yield Goal(what, row['formulas_per_s'], 20_000 if gpu else 2_000, '/ s')


def _alphaformer(result, gpu: bool) -> Iterator[Goal]:
  del gpu
  if result['first_pool']:
    what = 'first pool of AlphaFormer after start, warm cache'
    yield Goal(what, result['first_pool']['warm']['seconds'], 30, 's', False)


def _iteration(result, gpu: bool) -> Iterator[Goal]:
  del gpu
  seconds = result['synthetic']['median_seconds']['total']
  what = 'iteration of the paper, synthetic panel'
  yield Goal(what, seconds, 8, 's', False)


def _methods(result, gpu: bool) -> Iterator[Goal]:
  del gpu
  control = result['random search']['seconds_each']
  for name, goal in OF_RANDOM_SEARCH.items():
    what = f'{name}, seconds a formula of random search'
    yield Goal(what, result[name]['seconds_each'] / control, goal, 'x', False)


def _backtest(result, gpu: bool) -> Iterator[Goal]:
  del gpu
  what = f'backtests of {result["signals"]:,} signals'
  yield Goal(what, result['seconds']['median'], 10, 's', False)


def _assess(result, gpu: bool) -> Iterator[Goal]:
  del gpu
  what = 'assess, times the evaluation of the same formulas'
  yield Goal(what, result['ratio'], 1.2, 'x', False)


def _startup(result, gpu: bool) -> Iterator[Goal]:
  del gpu
  what = 'first iteration after start, warm cache'
  yield Goal(what, result['warm']['first_iteration'], 20, 's', False)


JUDGES: dict[str, Callable[..., Iterator[Goal]]] = {
  'formulas': _formulas,
  'operators': _operators,
  'search': _search,
  'emission': _emission,
  'alphaformer': _alphaformer,
  'iteration': _iteration,
  'methods': _methods,
  'backtest': _backtest,
  'assess': _assess,
  'startup': _startup,
}
