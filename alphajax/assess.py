r"""Judges formulas of any origin: ours, a colleague's, a language model's.

python -m alphajax.assess --formula="-Delta(close,5)/close" \
  --data=market.parquet --start=2018-01-01 --end=2019-12-31
python -m alphajax.assess --file=ideas.txt --data=market.parquet

Prints a table and writes `assess.json` and `assess.html` into `--workdir`. A
file is text of a formula a line, a run's `pool.json`, JSON lines, or CSV. What
is said of a formula holds after all formulas that were ever judged on these
days: they are counted in a ledger beside the data, see `judge.ledger`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from alphajax import cli, markets
from alphajax.analysis import novelty
from alphajax.configs import common
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data.panel import FEATURES, Split
from alphajax.factor import evaluate
from alphajax.judge import assessment, ledger
from alphajax.language import dialects, formula_files
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.language.formula_files import Batch, Source
from alphajax.methods import linear
from alphajax.report import assessment as page
from alphajax.run import cache, files

FEW = 100  # Formulas that are ranked on all days.


@jax.enable_x64(False)  # As runs are made.
def assess(
  config,
  batch: Batch,
  *,
  start: str | None = None,
  end: str | None = None,
  every: int | None = None,
  against: Mapping[str, Formula] | None = None,
  ledger_path: str | None = None,
) -> dict[str, Any]:
  """Judges formulas on the days of a market.

  Args:
    config: its data, label and features count.
    batch: the formulas; with weights their pool is judged as well.
    start, end: first and last day; None: of the data.
    every: of how many scored days one is ranked; None: all of them for up to
      `FEW` formulas, one in a horizon for more.
    against: formulas to compare with, by name.
    ledger_path: None: see `ledger.place`.

  Returns:
    What `assess.json` holds.

  Raises:
    ValueError: no formula; data or days that cannot be loaded.
    RunError: a damaged ledger. Nothing is counted in either case.
  """
  _check_some(batch)
  split, data_hash = _load(config, batch.formulas, start, end, against or {})
  batch = formula_files.without_codes(batch, split.panel.coded)
  _check_some(batch)
  label, (first, last) = markets.label_spec(config), config.splits.test
  keys = [formula_lib.key(formula) for formula in batch.formulas]
  pool = _pool_signal(batch, split)
  if batch.weights:
    keys.append(ledger.pool_key(batch.formulas, batch.weights))
  # From here on the days are looked at: counted, also if what follows fails.
  tally, place = markets.count(
    config, 'assess', (first, last), keys, ledger_path
  )
  question = assessment.Question(
    batch.formulas, batch.where, split, label,
    every=every or (1 if len(keys) <= FEW else label.exit - label.entry),
    pool=pool, against=against or {},
  )  # fmt: skip
  loaded = f'{data_hash} {markets.load_options(config)}'
  measured = assessment.measure(question, loaded)
  return {
    'data': config.data.path or 'simulated market',
    'data_hash': data_hash,
    'days': [first, last],
    'ledger': str(place),
    'repeated': batch.repeated,
    'refused': [each._asdict() for each in batch.refused],
    **assessment.describe(question, measured, tally),
  }


def _check_some(batch: Batch) -> None:
  if not batch.formulas:
    told = ''.join(f'\n{r.where}: {r.reason}' for r in batch.refused[:5])
    raise ValueError(f'no formula is left to judge{told}')


def _pool_signal(batch: Batch, split: Split) -> jax.Array | None:
  """The signal `[T, S]` of the formulas together; None without weights."""
  if not batch.weights:
    return None
  store = evaluate.make_store(split.panel)
  members = jnp.asarray(split.panel.mask)
  return linear.combine(store, batch.formulas, batch.weights, members)


def _load(config, formulas, start, end, against) -> tuple[Split, str]:
  """The days to judge on, with their warm-up; sets them in the config."""
  path = config.data.path
  if not path:
    dates = markets.simulated(config).panel.dates
  elif not Path(path).expanduser().exists():
    raise ValueError(f'{path}: no such file or folder; expected --data=PATH')
  else:
    dates = market_lib.load(path, **markets.load_options(config)).dates
  config.splits.test = (start or dates[0], end or dates[-1])
  # Published formulas look far back; as far as there are data, so may we.
  known = novelty.published(features_of(config)).values()
  spare = int(np.searchsorted(dates, config.splits.test[0]))
  needed = max(map(formula_lib.lookback, (*formulas, *against.values())))
  most = max(map(formula_lib.lookback, known))
  config.method, config.lookback = 'random_search', max(1, needed)
  _check_span(config, dates, markets.lookback(config))
  config.lookback = max(config.lookback, min(most, spare))
  split = markets.load_split(config, 'test')
  return split, markets.data_hash(config)


def _check_span(config, dates: Sequence[str], needed: int) -> None:
  """Refuses days of which none is judged, and says what could be typed.

  needed: bars before the first that is judged.
  """
  start, end = config.splits.test
  try:
    first, stop = panel_lib.locate(dates, 'test', start, end)
  except ValueError as error:
    raise ValueError(f'--start, --end: {error}') from error
  begin, ahead = max(first, needed), config.label.exit
  if begin + ahead < stop:
    return
  advice = []
  if needed + ahead < stop:
    advice.append(f'--start={dates[stop - ahead - 1]} or earlier')
  if begin + ahead < len(dates):
    advice.append(f'--end={dates[begin + ahead]} or later')
  horizon = stop - begin - 1 - config.label.entry
  if horizon > 0:
    advice.append(f'--horizon={horizon} or less')
  raise ValueError(
    f'{start}..{end} is too short: it holds {stop - first} bars and the data '
    f'{first} before it, formulas look back {needed} bars and the label '
    f'{ahead} ahead; expected '
    + (', or '.join(advice) or 'more data, or formulas of shorter windows')
  )


def features_of(config) -> tuple[str, ...]:
  """Names that formulas may read."""
  names = (*FEATURES, *config.language.features)
  return tuple(dict.fromkeys(names))


def read(config, options) -> tuple[Batch, dict[str, Formula]]:
  """The formulas that the flags name, and those to compare with."""
  sources = [
    Source(f'--formula {number}', text)
    for number, text in enumerate(options.formula, 1)
  ]
  for path in options.file:
    sources += formula_files.read(path)
  if not sources:
    raise ValueError(
      'nothing to judge: expected --formula="Mean(close,20)/close" or '
      '--file=ideas.txt'
    )
  features = features_of(config)
  batch = formula_files.parse(sources, features, options.dialect)
  if not options.against:
    return batch, {}
  others = formula_files.parse(
    formula_files.read(options.against), features, options.dialect
  )
  for each in others.refused:
    raise ValueError(f'--against: {each.where}: {each.reason}')
  names = (where.rpartition(', ')[2] for where in others.where)
  return batch, dict(zip(names, others.formulas, strict=True))


def make_config(options):
  """The config of the flags: data, label and features."""
  config = common.get_config()
  made = cli.read_config(options.config or 'common.py', options.set)
  if 'data' not in made:
    raise ValueError(
      f'--config={options.config} is of no one market: expected that of a '
      'method, such as --config=best.py:csi300'
    )
  for name in config:  # Some have no language, such as those of predictors.
    config[name] = made.get(name, config[name])
  if options.data:
    config.data.path = options.data
  elif not config.data.path and config.data.source == 'file':
    raise ValueError(
      'no data: expected --data=market.parquet, or --config=quickstart.py for '
      'those of a config'
    )
  if options.horizon is not None:
    config.label.exit = config.label.entry + options.horizon
  names = (*config.get('language', {}).get('features', ()), *options.features)
  config.language.features = tuple(dict.fromkeys(names))
  return config


def define_flags() -> None:
  """The flags of the command."""
  flags.DEFINE_multi_string('formula', [], 'A formula; may be repeated.')
  flags.DEFINE_multi_string(
    'file', [], 'A file of formulas: .txt, pool.json, .jsonl or .csv.'
  )
  flags.DEFINE_string('data', None, 'The market, as config.data.path.')
  flags.DEFINE_string('config', None, 'Whose data and label are taken.')
  flags.DEFINE_multi_string('set', [], 'KEY=VALUE of the config.')
  flags.DEFINE_string('start', None, 'First day; else that of the data.')
  flags.DEFINE_string('end', None, 'Last day; else that of the data.')
  flags.DEFINE_integer(
    'horizon', None, 'Bars that the label looks ahead; else the config\'s, 20.',
    lower_bound=1,
  )  # fmt: skip
  flags.DEFINE_enum(
    'dialect', dialects.NAMES[0], dialects.NAMES, 'The notation of formulas.'
  )
  flags.DEFINE_list('features', [], 'More columns that formulas may read.')
  flags.DEFINE_string('against', None, 'A file of your own to compare with.')
  flags.DEFINE_integer(
    'every', None, 'Rank one of so many days; else all, or one a horizon.',
    lower_bound=1,
  )  # fmt: skip
  flags.DEFINE_string('ledger', None, 'Where judgements are counted.')
  flags.DEFINE_string('workdir', 'runs/assess', 'Folder of the result.')
  flags.DEFINE_bool('strict', False, 'A line that is no formula is an error.')


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  cache.use_disk_cache()
  options = flags.FLAGS
  workdir = Path(options.workdir).expanduser()
  files.check_folder('--workdir', workdir)
  config = make_config(options)
  batch, against = read(config, options)
  found = assess(
    config, batch, start=options.start, end=options.end, every=options.every,
    against=against, ledger_path=options.ledger,
  )  # fmt: skip
  with files.naming(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
  files.write_json(workdir / 'assess.json', found)
  page.write(workdir / 'assess.html', found)
  print(page.table(found))
  print(f'Written to {workdir / "assess.json"} and {workdir / "assess.html"}')
  if options.strict and found['refused']:
    raise ValueError(
      f'{len(found["refused"])} of the lines are no formula, and --strict was '
      'given'
    )


if __name__ == '__main__':
  cli.run('alphajax.assess')
