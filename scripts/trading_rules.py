r"""What slower trading leaves of walked signals, after costs.

python scripts/trading_rules.py --walks=runs/walk_best,runs/walk_random

Each signal is traded on all of its years by each of `RULES`, which were there
before any was tried. Rules are not chosen by what they earn here: these are the
years that the walks were judged on, and the best of six is one of six.
"""

from pathlib import Path

from absl import app, flags

from alphajax import markets, walks
from alphajax.data import panel as panel_lib
from alphajax.judge import performance, trading
from alphajax.run import cache, files

# What differs from the paper's rules, and from the market's costs and limits.
# The label is the return over 20 days: an exchange takes about as long.
RULES = {
  'best 60, 5 exchanged a day (paper)': {},
  'best 60, 2 exchanged a day': {'drop_n': 2},
  'the same, the rest let run': {'drop_n': 2, 'rebalance': False},
  'best 60, all exchanged every 20 days': {'drop_n': 60, 'every': 20},
  'in proportion to the signal, every 5': {
    'portfolio': 'signal', 'short': False, 'every': 5,
  },
  'best tenth less worst tenth, every 20': {
    'portfolio': 'quantile', 'every': 20,
  },
}  # fmt: skip
FIGURES = {
  'excess_return': 'over the universe',
  'information_ratio': 'information ratio',
  'sharpe': 'Sharpe',
}


def rows(workdir: Path, data: str | None) -> list[str]:
  """A line of the table for each rule."""
  signal, split = walks.on_market(workdir, data)
  own = markets.backtest_spec(walks.config_of(workdir, data))
  first = int(split.scored.argmax())
  panel = panel_lib.select_days(split.panel, slice(first, None))
  lines = []
  for name, rule in RULES.items():
    result = trading.backtest(signal[first:], panel, own._replace(**rule))
    found = performance.summary(result)
    cells = [
      f'{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]'
      for each in (found[figure] for figure in FIGURES)
    ]
    plain = (
      f'{found["max_drawdown"].depth:.1%}', f'{found["turnover"].value:.1%}',
      f'{found["cost"].value:.2%}', f'{found["break_even"].value:.1f}',
    )  # fmt: skip
    lines.append(
      f'| {workdir.name} | {name} | {" | ".join((*cells, *plain))} |'
    )
  return lines


def main(argv):
  del argv
  cache.use_disk_cache()
  heads = (
    'walk', 'rule', *FIGURES.values(), 'deepest fall', 'exchanged a day',
    'cost a year', 'break-even, basis points',
  )  # fmt: skip
  lines = [f'| {" | ".join(heads)} |', f'|{" --- |" * len(heads)}']
  print('\n'.join(lines))
  for walk in flags.FLAGS.walks:
    found = rows(Path(walk).expanduser(), flags.FLAGS.data)
    print('\n'.join(found), flush=True)
    lines += found
  if flags.FLAGS.out:
    files.write_text(
      Path(flags.FLAGS.out).expanduser(), '\n'.join(lines) + '\n'
    )


if __name__ == '__main__':
  flags.DEFINE_list('walks', None, 'Folders of walks, or of their averages.')
  flags.DEFINE_string('data', None, 'The data, where they moved.')
  flags.DEFINE_string('out', None, 'File that gets the table, too.')
  flags.mark_flag_as_required('walks')
  app.run(main)
