r"""Does what lasts out of sample rise with the formulas evaluated?

python scripts/saturation.py --data=../shared/data --workdir=runs/saturation
python scripts/saturation.py --workdir=runs/saturation --table

Searches of `finding.py` mine 10,000 formulas on each half of the train days of
both real markets; the pools that rules make of the first so many are judged on
the other half and on validation. Goes on where it stopped, seed after seed;
nothing after 2019 is read. `--table` prints every mean with its difference to
random search under Algorithm 1, and writes `saturation.png`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags, logging
from finding import (
  CONTROL,
  DATA,
  difference,
  read_days,
  search_config,
  use_data,
)
from matplotlib.figure import Figure

from alphajax import halves
from alphajax.factor import runtime
from alphajax.run import cache, files, folder


class Plan(NamedTuple):
  """What is compared.

  points: numbers of formulas that rules choose from.
  control: the search that others are set beside, and its rule; no rule: the
    same one.
  picture: name of the file.
  """

  searches: tuple[str, ...]
  rules: tuple[str, ...]
  points: tuple[int, ...]
  control: tuple[str, str]
  picture: str


PLAN = Plan(
  searches=('random', 'evolution_typed', 'evolution'),
  rules=('algorithm1', 'elastic_net', 'bagged', 'distilled@capacity=20'),
  points=(250, 500, 1000, 2500, 5000, 10000),
  control=CONTROL,
  picture='saturation.png',
)


def run(plan: Plan, workdir: Path, data: Path, markets, num_seeds: int) -> None:
  """Runs what the folder does not hold yet."""
  for seed in range(num_seeds):
    for market in markets:
      for search in plan.searches:
        place = workdir / market / search / f'seed_{seed}'
        if is_done(plan, place, search):
          continue
        config = search_config(search, market)
        use_data(config, data, market)
        config.seed, config.max_evaluated = seed, plan.points[-1]
        # A search that proposes much that is known needs more of them.
        config.num_iterations = 1000
        results = halves.halves(
          config, place, rules_of(plan, search), plan.points
        )
        print(market, search, seed)
        print(halves.table(results), flush=True)
        runtime.forget()  # The next market has other days.


def is_done(plan: Plan, place: Path, search: str) -> bool:
  """Whether a run is judged by all rules after all numbers of formulas."""
  known = files.read_arrays(place / halves.DAILY)
  return all(
    f'{rule} of {point}_{halves.HALVES[0]}_other' in known
    for rule in rules_of(plan, search)
    for point in plan.points
  )


def rules_of(plan: Plan, search: str) -> tuple[str, ...]:
  """Algorithm 1 of the control alone: it comes in no archive."""
  own = search == plan.control[0]
  return tuple(rule for rule in plan.rules if own or rule != 'algorithm1')


def load(plan: Plan, workdir: Path, market: str, search: str):
  """{(rule, point): {seed: {span: {day: IC}}}} of what has been run."""
  found: dict = {}
  for path in sorted(
    (workdir / market / search).glob(f'seed_*/{halves.DAILY}')
  ):
    seed = int(path.parent.name.removeprefix('seed_'))
    if not is_done(plan, path.parent, search):
      continue  # Judged after other numbers of formulas.
    for rule in rules_of(plan, search):
      for point in plan.points:
        days = read_days(path, f'{rule} of {point}')
        found.setdefault((rule, point), {})[seed] = days
  return found


def seconds(plan: Plan, workdir: Path, market: str, search: str) -> np.ndarray:
  """Seconds of mining until each point, mean over runs; no compilation."""
  ways = []
  place = workdir / market / search
  finished = [path.parent for path in place.glob(f'seed_*/{halves.DAILY}')]
  for half in (seed / half for seed in finished for half in halves.HALVES):
    records = folder.load_run(half).metrics
    spent = np.cumsum(
      [r['seconds']['total'] - r['compile_seconds'] for r in records]
    )
    counts = [r['evaluated'] for r in records]
    ways.append(np.interp(plan.points, counts, spent))
  return np.mean(ways, 0)


def mean_ic(days) -> float:
  """Mean over the seeds and their spans."""
  return float(
    np.mean(
      [np.mean([*day.values()]) for e in days.values() for day in e.values()]
    )
  )


def table(plan: Plan, workdir: Path) -> str:
  """Mean IC by search, rule and number of formulas, and the difference.

  Raises:
    SystemExit: no run of the control has finished.
  """
  lines = []
  for market, runs in _all(plan, workdir).items():
    if plan.control[0] not in runs:
      continue
    lines.append(f'{market:42}' + ''.join(f'{n:>18,}' for n in plan.points))
    for search, found in runs.items():
      spent = seconds(plan, workdir, market, search)
      lines.append(f'{search + ", seconds a half":42}' + ''.join(
        f'{each:18.0f}' for each in spent
      ))  # fmt: skip
      for rule in rules_of(plan, search):
        row = f'{search} {rule} ({len(found[rule, plan.points[0]])})'
        cells = ''
        for point in plan.points:
          ours = found[rule, point]
          control = runs[plan.control[0]][plan.control[1] or rule, point]
          by_seed, over_days, _ = difference(ours, control)
          cells += f'  {mean_ic(ours):.4f}'
          cells += f' {np.mean(by_seed):+.3f}({over_days:.3f})'[:16]
        lines.append(f'{row:40}{cells}')
  if not lines:
    raise SystemExit(
      f'{workdir}: no finished run of {plan.control[0]} to set others beside; '
      'without --table they are made'
    )
  return '\n'.join(lines)


def _all(plan: Plan, workdir: Path):
  """{market: {search: what `load` found}}."""
  runs = {
    m: {s: load(plan, workdir, m, s) for s in plan.searches} for m in DATA
  }
  return {m: {s: f for s, f in found.items() if f} for m, found in runs.items()}


def picture(plan: Plan, workdir: Path) -> None:
  """IC by formulas evaluated: a panel a market and rule, a line a search."""
  runs = {m: found for m, found in _all(plan, workdir).items() if found}
  if not runs:
    return
  figure = Figure(
    figsize=(3.4 * len(plan.rules), 3 * len(runs)), layout='constrained'
  )
  grid = figure.subplots(
    len(runs), len(plan.rules), sharex=True, sharey='row', squeeze=False
  )
  for row, (market, found) in zip(grid, runs.items(), strict=True):
    for axes, rule in zip(row, plan.rules, strict=True):
      for search, each in found.items():
        if rule not in rules_of(plan, search):
          continue
        points = [each[rule, point] for point in plan.points]
        means = np.array([mean_ic(days) for days in points])
        by_seed = [[mean_ic({s: days[s]}) for s in days] for days in points]
        error = [
          np.std(x, ddof=1) / len(x) ** 0.5 for x in by_seed if len(x) > 1
        ]
        (line,) = axes.plot(
          plan.points, means, 'o-', markersize=3, label=search
        )
        if error:
          axes.fill_between(
            plan.points, means - error, means + error, alpha=0.15,
            color=line.get_color(),
          )  # fmt: skip
      axes.set(title=f'{market}, {rule}', xscale='log')
      axes.axhline(0, color='gray', linewidth=0.5)
      axes.grid(alpha=0.3)
  for axes in grid[-1]:
    axes.set_xlabel('formulas evaluated')
  for axes in grid[:, 0]:
    axes.set_ylabel('IC out of sample')
  grid[0, -1].legend()
  figure.savefig(workdir / plan.picture, dpi=110)


def numbers(texts: Sequence[str]) -> tuple[int, ...]:
  """Numbers of formulas as a flag has them.

  Raises:
    UsageError: they do not rise from 1 on.
  """
  whole = [int(text) if text.isdecimal() else 0 for text in texts]
  if not whole or whole[0] < 1 or sorted(set(whole)) != whole:
    raise app.UsageError(
      f'--points={",".join(texts)}: expected numbers of formulas that rise, as '
      'in --points=10,30,100'
    )
  return tuple(whole)


FLAGS = flags.FLAGS


def start(
  plan: Plan, workdir: str, more: Callable[[Plan, Path], str] | None = None
) -> None:
  """Runs a script of `plan`.

  workdir: where, by default.
  more: (plan, workdir) -> what is said after the table.
  """

  def main(argv):
    del argv
    cache.use_disk_cache()
    logging.set_verbosity(logging.WARNING)
    place = Path(FLAGS.workdir)
    given = plan._replace(
      points=numbers(FLAGS.points),
      rules=tuple(FLAGS.rules),
      searches=tuple(FLAGS.searches),
    )
    if not FLAGS.table:
      run(given, place, Path(FLAGS.data), FLAGS.markets, FLAGS.seeds)
    print(table(given, place))
    picture(given, place)
    if more is not None:
      print(more(given, place))

  flags.DEFINE_string('workdir', workdir, 'Folder of all runs.')
  flags.DEFINE_string('data', '../shared/data', 'Folder of the two markets.')
  flags.DEFINE_list('searches', list(plan.searches), 'Which of them.')
  flags.DEFINE_multi_enum('markets', [*DATA], [*DATA], 'Mined on.')
  flags.DEFINE_list('rules', list(plan.rules), 'Of the pools.')
  flags.DEFINE_list(
    'points', [str(n) for n in plan.points], 'Numbers of formulas, rising.'
  )
  flags.DEFINE_integer('seeds', 5, 'Runs of each.')
  flags.DEFINE_bool('table', False, 'Only the table of what has been run.')
  app.run(main)


if __name__ == '__main__':
  start(PLAN, 'runs/saturation')
