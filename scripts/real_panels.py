"""What the figures on real panels share: their flags, configs of markets."""

from pathlib import Path

from absl import flags

from alphajax import cli

DATA = {'csi300': 'cn_csi300.parquet', 'sp500': 'us_sp500.parquet'}


def define_flags() -> None:
  flags.DEFINE_string('out', None, 'Folder of the runs.', required=True)
  flags.DEFINE_list('markets', list(DATA), 'Of csi300, sp500.')
  flags.DEFINE_string('data', '../shared/data', 'Folder of the panels.')
  flags.DEFINE_integer('iterations', 100, 'Iterations of a run.')
  flags.DEFINE_string('base', '', 'Variant of configs/alphacfg.py.')
  flags.DEFINE_multi_string('set', [], 'key=value of all runs.')


def config_of(market: str, *settings: str, given=flags.FLAGS):
  """The config of AlphaCFG on a market with what the flags say.

  Args:
    market: of DATA.
    settings: `key=value`; those of `--set` win over them.
    given: the flags.
  """
  variant = f'{market},{given.base}' if given.base else market
  return cli.read_config(f'alphacfg.py:{variant}', [
    f'data.path={Path(given.data) / DATA[market]}',
    f'num_iterations={given.iterations}', *settings, *given.set,
  ])  # fmt: skip
