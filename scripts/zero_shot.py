r"""What a pre-trained network finds on real markets, by formulas evaluated.

python scripts/zero_shot.py --data=../shared/data --workdir=runs/zero_shot
python scripts/zero_shot.py --workdir=runs/zero_shot --table
python scripts/zero_shot.py --data=../shared/data --workdir=runs/zero_shot \
  --points=10,30,100,300,1000,3000 --searches=random_screen,alphaformer,alphacfg
python scripts/zero_shot.py --data=../shared/data --workdir=runs/zero_shot \
  --searches=random_screen,alphaformer,alphaformer_no_pool

As `saturation.py`: every search mines as many formulas as the last of --points
on each half of the train days, the probes of AlphaFormer and of retrieval
counted; the pools that rules make of the first so many are judged on the
other half and on validation, beside those of random search with the same
screen, the same rule and as many formulas. `best_distinct@capacity=100` is a
pool of 100. `alphaformer_no_pool` and so on are without what
`config.alphaformer.ablate` names. Then, for each search, the formulas that it
needs for the best that random search reaches, over those of random search, with
its 95 % interval over days and seeds: AlphaFormer's paper says some third of
what other methods need.
"""

from pathlib import Path

import numpy as np
import saturation
from finding import DATA, SPANS

from alphajax.judge import needed

PLAN = saturation.Plan(
  searches=(
    'random_screen', 'retrieval', 'alphaformer', 'evolution', 'alphacfg',
  ),
  rules=(
    'elastic_net', 'best_distinct', 'distilled', 'bagged',
    'best_distinct@capacity=100',
  ),
  points=(100, 300, 1000),
  control=('random_screen', ''),
  picture='zero_shot.png',
)  # fmt: skip
# Both halves are judged on validation, whose days are drawn once.
WEIGHTS = (0.25, 0.25, 0.5)


def ratios(plan: saturation.Plan, workdir: Path) -> str:
  """A line a market, search and rule: formulas needed over the control's."""
  lines = []
  for market in DATA:
    runs = {
      search: saturation.load(plan, workdir, market, search)
      for search in plan.searches
    }
    control = runs.pop(plan.control[0])
    for search, found in runs.items():
      for rule in plan.rules if found and control else ():
        ours, other = spans_of(plan.points, rule, found, control)
        said = needed.ratio(plan.points, ours, other, weights=WEIGHTS)
        row = f'{market} {search} {rule}'
        lines.append(f'{row:46}{text(said)}')
  return '\n'.join(lines)


def text(found: needed.Ratio) -> str:
  """A ratio, its interval, and how often there is one."""
  numbers = (
    'never' if np.isinf(x) else f'{x:.2f}'
    for x in (found.ratio, found.low, found.high)
  )
  return (
    '{:>6} [{}, {}] of the formulas, reached in {:.0%} of the draws'
  ).format(*numbers, found.reached)


def spans_of(points, rule: str, *searches):
  """Daily ICs f64[seeds, P, days] of three spans, for each search.

  The other half, mined on either, and validation, the mean of both. On the days
  that all of them have: a look-back moves a half by a day.
  """
  everything = [
    days
    for found in searches
    for point in points
    for days in found[rule, point].values()
  ]
  common = {
    span: sorted(set.intersection(*(set(days[span]) for days in everything)))
    for span in SPANS
  }
  # Of `valid` both halves have the same days.
  valid = [span for span in SPANS if span.endswith('valid')]
  shared = sorted(set.intersection(*(set(common[span]) for span in valid)))
  parts = []
  for found in searches:

    def taken(span, days, found=found):
      return np.array([
        [[found[rule, n][seed][span][day] for day in days] for n in points]
        for seed in found[rule, points[0]]
      ])  # fmt: skip

    others = [taken(s, common[s]) for s in SPANS if s not in valid]
    parts.append([*others, np.mean([taken(s, shared) for s in valid], axis=0)])
  return parts


if __name__ == '__main__':
  saturation.start(PLAN, 'runs/zero_shot', ratios)
