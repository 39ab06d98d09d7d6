r"""How much of what is planted did runs on simulated markets find?

python scripts/planted_recovery.py --workdir=runs/deep_0,runs/deep_1

For each run and split: the IC of the planted combination (the ceiling) and of
the run's pool, the pool's share of the ceiling, what that share is expected to
be without the noise of the labels, and how many planted formulas a formula of
the pool behaves like (|correlation| > 0.9).
Simulated days can be looked at as often as one likes, the test split too.
"""

from pathlib import Path

from absl import app, flags

from alphajax import evaluate, markets
from alphajax.analysis import recovery
from alphajax.data import simulate
from alphajax.data.panel import SPLITS
from alphajax.run import cache

_WORKDIR = flags.DEFINE_list('workdir', None, 'Folders of runs.', required=True)


def rows(workdir: Path):
  """A row of figures of each split."""
  config, predict, found = evaluate.result_of(workdir)
  market = markets.simulated(config)
  for name in SPLITS:
    split = markets.load_split(config, name)
    got = recovery.recovery(market, split, predict(split.panel), found.formulas)
    top = simulate.ceiling(market, split)
    closest = ', '.join(f'{x:.2f}' for x in got.closest)
    yield [
      f'{workdir.name} {name}', f'{top:.4f}', f'{got.share * top:.4f}',
      f'{got.share:.2f}', f'{got.expected:.2f}',
      f'{got.recovered() * len(got.closest):.0f} of {len(got.closest)}',
      closest,
    ]  # fmt: skip


def main(argv):
  del argv
  cache.use_disk_cache()
  head = 'run | planted IC | IC | share | expected | recovered | closest'
  print(f'| {head} |\n|' + ' --- |' * 7)
  for workdir in _WORKDIR.value:
    for row in rows(Path(workdir)):
      print(f'| {" | ".join(row)} |', flush=True)


if __name__ == '__main__':
  app.run(main)
