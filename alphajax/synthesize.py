r"""Makes synthetic markets from the training split and says how real they look.

python -m alphajax.synthesize --config=configs/synthesize.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/synthetic

WORKDIR/panels/bootstrap_000.parquet and so on are panels like those of a user:
--config.data.path of any other command takes one. `quality.txt`, `quality.json`
and `quality.png` put every family beside the real days of training and
validation. Only the training split is fitted; the test split stays closed.
Killed at any moment, the same command goes on with the panels that it lacks.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags, logging
from ml_collections import config_flags

from alphajax import cli, markets
from alphajax.analysis import (
  market_contest,
  market_interval,
  market_probes,
  market_quality,
)
from alphajax.data import controls, long_table
from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel
from alphajax.language.formula import Formula
from alphajax.methods import market_families
from alphajax.methods.market_families import FAMILIES, Given
from alphajax.report import market_quality as picture
from alphajax.run import cache, files, lock
from alphajax.run import config as config_lib

# The last panels may be more, and the report another.
MAY_CHANGE = (
  'data.path',
  'synthetic.families',
  'synthetic.num_panels',
  'quality',
)


def synthesize(config, workdir: Path, say: Callable = print) -> dict[str, Any]:
  """Writes the panels that are missing and the report.

  Args:
    config: see configs/synthesize.py.
    workdir: of this config alone; made if missing.
    say: is told of what happens.

  Returns:
    `{column: figures}`, as in `quality.json`.

  Raises:
    ValueError: a config, or data, that cannot be; a folder of another config
      or of other data.
    RunError: the folder is in use or cannot be written.
  """
  check(config)
  workdir = Path(workdir).expanduser()
  config_lib.check_config(workdir, config.to_dict(), MAY_CHANGE)
  train = load_days(config, 'train')
  source = controls.make_source(train, config.synthetic.num_stocks)
  with files.naming(workdir):
    (workdir / 'panels').mkdir(parents=True, exist_ok=True)
  with lock.hold(workdir, say):
    files.clean(workdir)
    files.clean(workdir / 'panels')
    _check_data(config, workdir)
    files.write_json(workdir / 'config.json', config.to_dict())
    for family in config.synthetic.families:
      _write_panels(family, Given(config, workdir, train, source, say))
    return _report(config, workdir, train, source, say)


def check(config) -> None:
  """Refuses a config that cannot be, key by key."""
  markets.check_source(config)
  markets.check_splits(config)
  own, quality = config.synthetic, config.quality
  families = own.families
  if isinstance(families, str) or not set(families) <= set(FAMILIES):
    raise ValueError(
      f'config.synthetic.families is {families!r}: expected some of '
      f'{", ".join(FAMILIES)}, as in '
      "--config.synthetic.families=\"('bootstrap','garch')\""
    )
  if len(set(families)) < len(families) or not families:
    raise ValueError(
      f'config.synthetic.families is {families!r}: expected each once, and one '
      'at least'
    )
  for group, name, least in (
    (own, 'num_panels', 1), (own, 'num_days', 60), (own, 'num_stocks', 2),
    (own, 'num_factors', 0), (own, 'block', 1), (quality, 'num_panels', 1),
    (quality, 'num_probes', 0), (quality, 'num_resamples', 0),
  ):  # fmt: skip
    if group[name] < least:
      where = 'synthetic' if group is own else 'quality'
      raise ValueError(
        f'config.{where}.{name} is {group[name]}: expected {least} or more'
      )
  market_families.check(config)


def load_days(config, name: str) -> Panel:
  """The days of one split, and no others."""
  start, end = config.splits[name]
  data = config.data
  if data.path:
    options = markets.load_options(config)
    return market_lib.load(data.path, start=start, end=end, **options)
  panel = markets.simulated(config).panel
  first, stop = panel_lib.locate(panel.dates, name, start, end, panel.covers)
  return panel_lib.select_days(panel, slice(first, stop))


def _check_data(config, workdir: Path) -> None:
  """Refuses a folder that was made from other data."""
  path = workdir / 'source.json'
  now = markets.data_hash(config)
  before = files.read_json(path)
  if before is not None and before.get('data') != now:
    raise ValueError(
      f'{workdir} was made from other data (old -> new):\n'
      f'  {before.get("data")} -> {now}\n'
      'Take another --workdir, or the old data to go on with that one.'
    )
  files.write_json(path, {'data': now})


def _path(workdir: Path, family: str, index: int) -> Path:
  return workdir / 'panels' / f'{family}_{index:03d}.parquet'


def seed_of(config, family: str, index: int) -> int:
  """The seed of one panel; another one for each."""
  words = [config.seed, FAMILIES.index(family), index]
  return int(np.random.SeedSequence(words).generate_state(1)[0])


def _write_panels(family: str, given: Given) -> None:
  """The panels of a family that are not there yet."""
  config = given.config
  paths = [
    _path(given.workdir, family, i) for i in range(config.synthetic.num_panels)
  ]
  missing = [i for i, path in enumerate(paths) if not path.exists()]
  if not missing:
    return
  make = market_families.make(family, given)
  for i in missing:
    panel = make(seed_of(config, family, i))
    with files.replacing(paths[i]) as file:
      file.write(long_table.to_bytes(panel))
    given.say(
      f'{paths[i].name}: {panel.mask.shape[0]} days, '
      f'{panel.mask.shape[1]} stocks'
    )


def _report(config, workdir, train: Panel, source: controls.Source, say):
  """Figures of every family; written as JSON, text and a picture."""
  train = panel_lib.take_symbols(train, source.symbols)
  valid = load_days(config, 'valid')
  count = min(len(source.symbols), int(np.asarray(valid.mask).any(0).sum()))
  chosen = controls.make_source(valid, count).symbols
  valid = panel_lib.take_symbols(valid, chosen)
  real = _make_real(config, train, valid)
  columns = {'train': _look(config, real, train)}
  columns['valid'] = _look(config, real, valid)
  own = config.quality
  if own.num_resamples:
    ends = market_interval.interval(
      train, config.synthetic.num_days, own.num_resamples, config.seed
    )
    columns |= dict(zip(('train_low', 'train_high'), ends, strict=True))
  curves = {
    name: market_quality.curves(panel)
    for name, panel in (('train', train), ('valid', valid))
  }
  for family in config.synthetic.families:
    say(f'{family}: compared')
    panels = [
      market_lib.load(_path(workdir, family, i), cache=False)
      for i in range(min(own.num_panels, config.synthetic.num_panels))
    ]
    columns[family] = _average([_look(config, real, x) for x in panels])
    curves[family] = market_quality.curves(panels[0])
  files.write_json(workdir / 'quality.json', columns)
  files.write_text(workdir / 'quality.txt', picture.table(columns) + '\n')
  with files.replacing(workdir / 'quality.png') as file:
    file.write(picture.draw(curves))
  return columns


class _Real(NamedTuple):
  """Real days, and what probes see of them; made once."""

  train: Panel
  valid: Panel
  probes: Sequence[Formula]
  label: panel_lib.LabelSpec
  in_train: market_probes.View | None
  in_valid: market_probes.View | None


def _make_real(config, train: Panel, valid: Panel) -> _Real:
  label = markets.label_spec(config)._replace(neutralize=())
  probes: Sequence[Formula] = []
  if config.quality.num_probes:
    probes = market_probes.draw(train, config.quality.num_probes, config.seed)
  views = [market_probes.look(x, probes, label) for x in (train, valid)]
  return _Real(train, valid, probes, label, *views)


def _look(config, real: _Real, panel: Panel) -> market_quality.Figures:
  """All figures of one panel."""
  found = market_quality.figures(panel)
  found |= market_quality.against(panel, real.train, config.seed)
  found |= market_contest.figures(panel, real.train, config.seed)
  found |= market_quality.memorised(panel, real.train, real.valid, config.seed)
  if real.probes:
    view = market_probes.look(panel, real.probes, real.label)
    found |= market_probes.figures(
      view, real.in_train, real.in_valid, real.label
    )
  return found


def _average(several: Sequence[market_quality.Figures]):
  """Means over panels, of those that have the figure."""
  means = {}
  for name in several[0]:
    known = [value for one in several if (value := one[name]) is not None]
    means[name] = sum(known) / len(known) if known else None
  return means


def define_flags() -> None:
  """The flags of the command."""
  config_flags.DEFINE_config_file('config', None, 'The config of the markets.')
  flags.DEFINE_string('workdir', None, 'Folder of the panels and the report.')
  flags.mark_flags_as_required(['config', 'workdir'])


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)
  options = flags.FLAGS
  if 'synthetic' not in options.config:
    raise ValueError(
      '--config has no config.synthetic: take synthesize.py:csi300, '
      'synthesize.py:sp500 or synthesize.py:simulated'
    )
  columns = synthesize(options.config, Path(options.workdir))
  print(picture.table(columns))
  print(f'Written to {Path(options.workdir) / "quality.png"} and beside it')


if __name__ == '__main__':
  cli.run('alphajax.synthesize')
