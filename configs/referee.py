r"""The referee: every method on one bench, side by side in one table.

python -m alphajax.referee --config=configs/referee.py --jobs=2 \
  --workdir=runs/table2

Variants: the paper's two markets; `simulated`, one that needs no data; `arena`,
ten planted markets of different depth and pure noise. What is here or installed
takes part, the rest is left out with a word.
"""

from ml_collections import config_dict

from alphajax.configs import common

DATA = {'csi300': 'cn_csi300.parquet', 'sp500': 'us_sp500.parquet'}
# Name of a planted market -> least and greatest length of its formulas, how
# many there are, and the seed, as `common.use_market` reads them.
DEPTHS = {
  'one_of_3': 'planted_3_4_1_1',
  'three_of_3': 'planted_3_5_3_2',
  'one_of_4': 'planted_4_6_1_3',
  'two_of_4': 'planted_4_6_2_4',
  'four_of_5': 'planted_5_7_4_5',
  'two_of_6': 'planted_6_8_2_6',
  'four_of_6': 'planted_6_10_4_0',
  'six_of_6': 'planted_6_10_6_7',
  'one_of_8': 'planted_8_10_1_8',
  'two_of_8': 'planted_8_10_2_10',
}

# AlphaCFG in the languages besides its own. A formula of alpha-Sem-k with K 10
# has eleven symbols, and RPN is read by an LSTM: as in Figure 4.
LANGUAGES = {
  'sem': ('language.name=sem',),
  'syn': ('language.name=syn',),
  'rpn': (
    'language.name=rpn', 'language.max_length=11', 'network.encoder=lstm',
  ),
}  # fmt: skip


def method(config, variant='', settings=(), **options):
  """A row of the table.

  Args:
    config: a file as --config names it.
    variant: goes behind the market's, as `best` in `alphacfg.py:csi300,best`.
    settings: KEY=VALUE of it; `method=my_package.my_module` is one of your own.
    options: `budget` in place of config.budget; `formulas=False` of what trains
      without evaluating formulas, which no budget ends; `needs`, a library;
      `optional`: left out where there is no such config; `default=False`: run
      where --methods names it, and where it was begun.
  """
  row = dict(
    config=config,
    variant=variant,
    set=tuple(settings),
    budget=config_dict.placeholder(int),
    formulas=True,
    needs='',
    optional=False,
    default=True,
  )
  return config_dict.ConfigDict(row | options)


def market(variant, *settings):
  """A market: the variant of every method's config, and what is set in it."""
  return config_dict.ConfigDict(dict(variant=variant, set=settings))


def methods() -> config_dict.ConfigDict:
  """All of them, by name."""
  rows = {
    'random': method('random.py', settings=('num_trajectories=50',)),
    'alphacfg': method('alphacfg.py', settings=('num_trajectories=50',)),
  }
  # `methods/schedules.py` cuts to the budget what is published for a hundred
  # times as many formulas, and says how often pools are chosen on the way.
  for name in ('best', 'evolution', 'retrieval', 'gp'):
    rows[name] = method(f'{name}.py')
  for name in ('alphagen', 'alphaqcm', 'gflownet', 'alphaformer'):
    rows[name] = method(f'{name}.py', optional=True)
  rows['published'] = method('published.py', formulas=False)  # Table 9.
  for name in ('alpha101', 'gtja191', 'alpha158'):
    rows[name] = method(
      'published.py', settings=(f'published.name={name}',), formulas=False
    )
  for name in ('linear', 'lstm', 'alstm', 'tcn', 'transformer'):
    rows[name] = method(f'{name}.py', formulas=False, optional=True)
  for name in ('lightgbm', 'xgboost'):
    rows[name] = method(f'{name}.py', formulas=False, needs=name, optional=True)
  return config_dict.ConfigDict(rows | more_methods())


def more_methods():
  """Rows that run where --methods names them."""
  rows = {}
  for name, settings in LANGUAGES.items():
    rows[f'alphacfg_{name}'] = method(
      'alphacfg.py',
      settings=('num_trajectories=50', *settings), default=False,
    )  # fmt: skip
  rows['alphacfg_learning'] = method(
    'alphacfg.py', 'learning', ('num_trajectories=50',), default=False
  )
  rows['gp_published'] = method(
    'gp.py', default=False,
    settings=('pool.rule=best_distinct', 'pool.capacity=20',
              'pool.max_corr=0.7'),
  )  # fmt: skip
  # Its pre-training evaluates nothing and counts nothing: the budget is of the
  # formulas that it then writes for the real market.
  rows['alphaformer_paper'] = method('alphaformer_paper.py', default=False)
  return rows


def get_config(variant='paper'):
  config = config_dict.ConfigDict()
  # Rows of the table by name, see `method` in configs/referee.py; --add of the
  # command adds others, --methods names those to run.
  config.methods = methods()
  # Where each is run: `variant` of the configs, and KEY=VALUE in `set`.
  config.markets = config_dict.ConfigDict()
  config.seeds = 3  # Runs of a method on a market,
  config.first_seed = 0  # from this seed on.
  # Formulas that a run evaluates; those that learn end with the iteration that
  # gets there.
  config.budget = 1000
  # A run that proposes what it knows ends after so many times the budget.
  config.patience = 3
  # Whose pool is the result of all that mine, and how published ones are
  # weighted: algorithm1, elastic_net, ...; empty: each as its config has it.
  config.pool_rule = ''
  # Methods that the others are compared with, day by day.
  config.controls = ('alphacfg', 'random')
  config.level = 0.9  # Of the model confidence set.
  # Numbers of evaluated formulas at which planted markets are looked at.
  config.checkpoints = (300, 1000, 3000, 10_000)
  # Years walked forward that get a table of their own, NAME=FOLDER; a name may
  # have several, its seeds.
  config.walks = ()

  if variant == 'paper':
    for name, file in DATA.items():
      config.markets[name] = market(name, f'data.path=../shared/data/{file}')
  elif variant == 'arena':
    use_arena(config)
  elif variant in common.MARKETS:
    config.markets[variant] = market(variant)
  else:
    known = ', '.join(('paper', 'arena', *common.MARKETS))
    raise ValueError(f'unknown variant {variant!r}: expected one of {known}')
  return config


def use_arena(config) -> None:
  """Takes ten planted markets and one with nothing in it."""
  for name, variant in DEPTHS.items():
    config.markets[name] = market(variant)
  config.markets['noise'] = market('simulated_noise')
