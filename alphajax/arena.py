"""What methods found of what is planted: shares, recovery, false claims.

Simulated days can be looked at as often as one likes, so what is planted is
compared with every finished run. Shares of the ceiling after so many formulas
are those of validation; of the end also those of the split that was opened.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from alphajax import evaluate, markets
from alphajax.analysis import recovery
from alphajax.judge import anytime, bench
from alphajax.judge.bench import Entry
from alphajax.run import files

RECOVERY = 'recovery.json'  # In the folder of a run, by the span looked at.


@jax.enable_x64(False)  # As the run was.
def recover(workdir: Path, name: str, days: Sequence[str]) -> None:
  """Writes what a run found of what is planted in a simulated market.

  `recovery.json` has by name of the span `share`, `expected` and `closest` of
  `recovery.Recovery`, and `recovered`, a share of the planted formulas; where
  nothing is planted, an empty `closest`.

  Args:
    workdir: of a finished run.
    name: of the span.
    days: its first and last.
  """
  config, predict, found = evaluate.result_of(workdir)
  if config.data.path:
    return
  simulation = markets.simulated(config)
  entry: dict[str, Any] = {'closest': []}
  if simulation.alphas and simulation.strength:
    config.splits.test = tuple(days)
    split = markets.load_split(config, 'test')
    horizon = config.label.exit - config.label.entry
    got = recovery.recovery(
      simulation, split, predict(split.panel), found.formulas, horizon
    )
    entry = {**got._asdict(), 'recovered': got.recovered()}
  known = files.read_json(workdir / RECOVERY) or {}
  files.write_json(workdir / RECOVERY, known | {name: entry})


def claims(entry: Mapping[str, Any]) -> dict[str, int]:
  """How many ICs of an evaluation are told from 0: the pool's, the formulas'.

  Where nothing is planted each is a false one; of independent ones 1 in 20 is
  expected.
  """

  def told(figures) -> bool:
    return figures['ic']['low'] > 0 or figures['ic']['high'] < 0

  return {
    'pool_claims': int(told(entry['test'])),
    'claims': sum(told(factor['test']) for factor in entry['factors']),
    'formulas': len(entry['factors']),
  }


def found_in(workdir: Path, name: str) -> dict[str, Any]:
  """What `recover` wrote, and the planted IC of validation; maybe nothing."""
  pool = files.read_json(workdir / 'pool.json') or {}
  known = files.read_json(workdir / RECOVERY) or {}
  ceiling = pool.get('ceiling', {}).get('valid')
  return {**known.get(name, {}), 'valid_ceiling': ceiling}


def by_market(
  boards: Mapping[str, Sequence[Entry]], checkpoints: Sequence[int]
) -> pd.DataFrame:
  """A row a market and method, means over seeds.

  Columns: `planted`, how many formulas; `seeds`; `share_N` of the planted
  validation IC after N evaluated formulas, of what counts none what it ended
  with, NaN where a seed had no pool by then; `share` of the planted IC of the
  span that was opened, `expected` of it without the noise of the labels,
  `recovered` of the planted formulas; and of all seeds `pool_claims`, `claims`
  of `formulas`, see `claims`.
  """
  rows = {}
  for market, entries in boards.items():
    for method in dict.fromkeys(entry.method for entry in entries):
      own = [entry for entry in entries if entry.method == method]
      row: dict[str, Any] = {
        'planted': len(own[0].figures['closest']),
        'seeds': len(own),
      }
      for count in checkpoints:
        row[f'share_{count}'] = float(np.mean([_share(e, count) for e in own]))
      for name in ('share', 'expected', 'recovered'):
        values = np.array([e.figures.get(name) for e in own], float)
        row[name] = float(values.mean())
      for name in ('pool_claims', 'claims', 'formulas'):
        row[name] = sum(e.figures[name] for e in own)
      rows[market, method] = row
  frame = pd.DataFrame.from_dict(rows, orient='index')
  return frame.rename_axis(index=['market', 'method'])


def _share(entry: Entry, count: int) -> float:
  """The share of the planted validation IC after `count` formulas."""
  curve, ceiling = entry.curve, entry.figures.get('valid_ceiling')
  if curve is None or not ceiling:
    return np.nan
  if not np.isfinite(curve.evaluated).all():
    return float(curve.valid_ic[-1] / ceiling)
  # Where the first pool is still to be chosen what it is worth is not known.
  return float(anytime.at(curve.evaluated, curve.valid_ic, count) / ceiling)


def ranking(rows: pd.DataFrame, level: float) -> tuple[pd.DataFrame, list[str]]:
  """Methods over all planted markets, the highest mean share first.

  A market is a unit: its seeds are one number, markets are independent.

  Args:
    rows: of `by_market`.
    level: of the confidence set.

  Returns:
    (a row a method: `markets`, the mean `share_N`, `share`, `expected` and
    `recovered` over them, `in_set`, `set_p`; and of the markets with nothing in
    them `noise_runs`, `pool_claims`, `claims`, `formulas`; sentences).
  """
  planted = rows[rows['planted'] > 0]
  empty = rows[rows['planted'] == 0]
  names = [n for n in rows if n.startswith('share')] + ['expected', 'recovered']
  # What is not known on one market has no mean over all of them.
  found = planted.groupby('method', sort=False)[names].agg(
    lambda shares: shares.mean(skipna=False)
  )
  found.insert(0, 'markets', planted.groupby('method', sort=False).size())
  notes = []
  if len(planted):
    share = planted['share'].unstack('method').reset_index(drop=True)
    sets, why = bench.confidence(dict(share.items()), None, level)
    if why:
      notes.append(f'No confidence set over markets: {why}.')
    for key, place in (('in_set', 0), ('set_p', 1)):
      found[key] = [sets[n][place] if n in sets else None for n in found.index]
  if len(empty):
    sums = empty.groupby('method', sort=False)[
      ['seeds', 'pool_claims', 'claims', 'formulas']
    ].sum()
    found = found.join(
      sums.rename(columns={'seeds': 'noise_runs'}), how='outer'
    )
  return found.sort_values('share', ascending=False), notes
