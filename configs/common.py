"""What all configs share: the paper's market, splits, label and sizes."""

import re

from ml_collections import config_dict

from alphajax.language import vocab

MARKETS = (
  'csi300',
  'sp500',
  'simulated',
  'simulated_large',
  'simulated_deep',
  'simulated_noise',
)


def get_config() -> config_dict.ConfigDict:
  """The paper's setting (Appendix H and I.1), without a method."""
  config = config_dict.ConfigDict()
  # A module of alphajax.methods, or the import path of one of your own.
  config.method = ''
  config.seed = 0  # All that is random follows from it.
  config.num_seeds = 1  # Runs, from this seed on, each in a folder of its own.
  config.num_iterations = 100  # At most.
  config.num_trajectories = 100  # Formulas proposed in an iteration.
  # Of num_iterations without a better validation IC; of the pool of algorithm1.
  config.early_stop = 0.2
  config.max_evaluated = 0  # Stop after so many evaluated formulas; 0: never.
  # Of each device, for values of subexpressions; 0: half a gigabyte, or as much
  # as the market's formulas need.
  config.store_bytes = 0
  config.lookback = 0  # Warm-up bars; 0: what the language can need.

  # A run, of any method, whose formulas this one begins with: its folder, a
  # file of a formula a line, or libraries ('alpha101,gtja191,alpha158'). They
  # are evaluated first, and count as evaluated.
  config.archive = ''
  # Folders of finished runs of these days, of any methods, whose mean signal
  # takes the place of the train labels; in a walk, of walks of the same years.
  # Validation and test stay as they are. `train_ic` is then the correlation
  # with that signal.
  config.teacher = config_dict.ConfigDict()
  config.teacher.runs = ()
  config.teacher.held = ''  # Hashes of their results, which a run fills in.

  # Keeps beside the checkpoints what is known of every formula, so that a run
  # that goes on, or whose archive this one is, need not evaluate it again where
  # a rule chooses the pool (config.pool.rule). Some 90 KB a formula.
  config.keep_rows = False
  # The notation of that file and of config.pool.base: ours, qlib, alphagen, ...
  config.dialect = 'ours'
  # Lines of these files that are no formula are an error that names each;
  # False: they are left out, and told of.
  config.strict = True

  config.mesh = config_dict.ConfigDict()
  # Of this process, that games are dealt over, and where they are accelerators
  # formulas too; 0: all, for games as many as share them evenly.
  config.mesh.devices = 0
  # Splits the stocks of the panel over so many devices, where it does not fit
  # on one; a divisor of those there are. 0: each has all stocks.
  config.mesh.stocks = 0
  # Whether they share the gradients of AlphaCFG's network, too. Of two devices
  # or more a run is then another one than with False, in the last digits at
  # first; the same of any number.
  config.mesh.learning = False

  config.log = config_dict.ConfigDict()
  # Scalars for TensorBoard in the folder of the run; needs tensorboardX.
  config.log.tensorboard = False

  # See alphajax.data.market.load, which takes all but path and simulate.
  config.data = config_dict.ConfigDict()
  config.data.path = ''  # File or folder.
  # Without a path: `simulated`, the market below; or `file`, and it is refused.
  config.data.source = 'file'
  config.data.columns = ''  # Renames, theirs=ours,theirs=ours.
  # total_return, rebase (of prices adjusted backwards), split, or none.
  config.data.adjust = 'total_return'
  # vwap from its column or amount / volume (auto), amount, or typical.
  config.data.vwap = 'auto'
  # Column of membership; of a qlib folder, its instruments file.
  config.data.universe = 'member'
  config.data.timezone = (
    ''  # Of the exchange, where days are stamps in another.
  )
  # What 1 of the column stands for: lots, thousands, millions or a number.
  config.data.volume_unit = 'auto'
  config.data.amount_unit = 'auto'  # The same of money.
  config.data.filled_days = 'drop'  # Rows of volume 0: drop or keep.
  # The embedded market: its size, and the strength of the planted alphas.
  config.data.simulate = config_dict.ConfigDict(
    dict(seed=0, num_days=1500, num_stocks=200, strength=0.05)
  )

  # First and last day of each; they may not overlap.
  config.splits = config_dict.ConfigDict()
  config.splits.train = ('2010-01-01', '2017-12-31')
  config.splits.valid = ('2018-01-01', '2019-12-31')
  config.splits.test = ('2021-01-01', '2024-12-31')  # 2020 is left out.
  # price[t + exit] / price[t + entry] - 1, in bars of the data.
  config.label = config_dict.ConfigDict(dict(entry=0, exit=20, price='close'))
  # Labels are what a fit of each day on these leaves: ('industry',
  # 'log_market_cap'), columns of groups or numbers, log_ of one, or formulas.
  config.label.neutralize = ()

  # Rules by which `evaluate` and walks trade what is found; they change nothing
  # of it. All of alphajax.judge.BacktestSpec.
  config.backtest = config_dict.ConfigDict()
  config.backtest.top_k = 60  # Stocks held by top_k.
  config.backtest.drop_n = 5  # Of them exchanged on a day, at most.
  config.backtest.buy_cost = 5.0  # Basis points of what is bought.
  # Of what is sold; on csi300 with China's stamp duty of 10.
  config.backtest.sell_cost = 15.0
  # When the signal of a day is traded: next_open, next_close, or close, the
  # paper's, which cannot be done.
  config.backtest.deal = 'next_open'
  # top_k, quantile (the best of `groups` groups less the worst) or signal.
  config.backtest.portfolio = 'top_k'
  # top_k trades all to equal weight each day; False: what comes and goes.
  config.backtest.rebalance = True
  config.backtest.groups = 10  # Of quantile.
  config.backtest.short = True  # The short side of quantile and signal.
  config.backtest.every = 1  # Days between two exchanges.
  # On sales, beside sell_cost: basis points as text, or china: 10, later 5.
  config.backtest.stamp_duty = '0'
  config.backtest.slippage = 0.0  # Basis points of the price, either side.
  config.backtest.min_fee = 0.0  # Money, of an order.
  config.backtest.borrow_cost = 0.0  # Basis points a year of what is short.
  config.backtest.capital = 1e7  # Money at the start, which min_fee reads.
  # Price limits: board (China's, by symbol), a share such as 0.1, or none.
  config.backtest.limits = 'board'
  # Days without a price after which a stock is paid out at its last one.
  config.backtest.gone_after = 252
  # Column with the level of an index; empty: all members, equally weighted.
  config.backtest.benchmark = ''

  config.language = config_dict.ConfigDict()
  config.language.name = 'sem_k'  # sem_k, sem, syn, rpn, or custom with rules.
  # K; operators of sem and syn, tokens of rpn.
  config.language.max_length = 10
  config.language.features = vocab.FEATURES  # Others are columns of the data.
  config.language.constants = vocab.CONSTANTS  # Of binary operators.
  config.language.windows = vocab.WINDOWS  # In bars.
  # Names of the operators that formulas may use.
  config.language.operators = vocab.PAPER_OPERATORS
  config.language.rules = ''  # Rows of custom, or the file that holds them.

  config.pool = config_dict.ConfigDict()
  config.pool.capacity = 10  # Factors.
  config.pool.l1 = 0.005  # Weight of the L1 norm in the fit.
  # Algorithm 1; 'improve' turns losers away, 'distinct' what is nearly the same
  # as a formula in the pool, as AlphaGen does.
  config.pool.accept = 'always'
  # Formulas that stay in the pool beside `capacity` others: what is mined adds
  # to them. A file of a formula a line, or a pool.json. A signal that you have
  # is one, too: the name of its column in the data.
  config.pool.base = ''
  # Whose pool is the result: `algorithm1`, the paper's; or one chosen from all
  # formulas evaluated by elastic_net, lasso, best_distinct, bagged, distilled,
  # or by the import path of a rule of your own.
  config.pool.rule = 'algorithm1'
  # The rest of config.pool is read by those rules. `capacity` is how many
  # formulas best_distinct, bagged (a bag) and distilled choose.
  # Iterations from one choice to the next; the first is made at once.
  config.pool.every = 10
  # L1 of elastic_net, lasso and distilled, in standard errors of a mean IC.
  config.pool.penalty = 1.5
  config.pool.ridge = 0.3  # L2 on weights of factors of variance 1.
  config.pool.max_corr = 0.5  # Of two formulas of best_distinct and bagged.
  config.pool.weighting = 'ridge'  # Of best_distinct; or 'equal'.
  config.pool.bags = 10  # Resamplings of the days by bagged.
  # Labels that the fit reads the mean of: plain, rank, winsorised,
  # half_horizon, half_horizon_rank. What is judged is the plain one.
  config.pool.labels = ('plain',)
  config.pool.days = 100  # Whose values are kept of every formula.
  # Formulas of which that is kept at most: the weakest are left out of pools
  # chosen later. 0: all. It bounds no other memory: texts, and what a screen
  # saw, stay of every formula.
  config.pool.keep = 0

  # Tests on a part of the market that a formula must pass to be evaluated, by
  # evolution, random search and retrieval.
  config.screen = config_dict.ConfigDict()
  # Turned away: what has no value or spread, or correlates with a known formula
  # by more than this; 0: no screen.
  config.screen.twin = 0.0
  config.screen.stocks = 48  # That the tests look at,
  config.screen.days = 170  # and days of them.
  # Of `candidates` for each evaluation the best are evaluated, by the `ic` that
  # formulas evaluated let expect of them, or by what the pool would `gain`; of
  # evolution, random search and AlphaCFG, whose network then learns of all its
  # games what their formulas are foreseen to be worth. none: as they come.
  config.screen.rank = 'none'
  config.screen.candidates = 5
  # How often the variance of an expected IC is added to its square.
  config.screen.explore = 1.0

  config.refine = config_dict.ConfigDict()
  config.refine.search = 'alphacfg'  # Or 'random_search': who fills the parts.
  config.refine.formula = ''  # Set by --formula of alphajax.refine.
  config.refine.mask = ''  # Set by --mask; empty: the right half.
  # ic, rank_ic, icir, rank_icir; lcb, rank_lcb: mean - beta * std.
  config.refine.objective = 'ic'
  config.refine.beta = 1.0  # Of lcb and rank_lcb.
  config.refine.signed = False  # False: of the factor or its negative.
  config.refine.extra_length = 5  # As far as Table 3 of the paper goes.
  config.refine.max_length = 0  # 0: length of the formula + extra_length.
  config.refine.tune_constants = False  # By gradient, after the search.
  config.refine.tune_steps = 40  # Of Adam, from each start.
  config.refine.tune_starts = 6  # Points that it starts from.
  return config


def use_market(config, name: str) -> None:
  """Takes one of MARKETS; the first two need a file, config.data.path.

  `planted_6_10_4_0` plants formulas of length 6 to 10, 4 of them, with the seed
  0, as simulated_deep does, whatever they correlate with sums of random ones.
  """
  planted = re.fullmatch(r'planted_(\d+)_(\d+)_(\d+)_(\d+)', name)
  if planted:
    least, greatest, count, seed = map(int, planted.groups())
    use_deep_market(config, count)
    config.data.simulate.seed = seed
    config.data.simulate.lengths = (least, greatest)
    return
  if name not in MARKETS:
    raise ValueError(
      f'unknown variant {name!r}: expected one of {", ".join(MARKETS)}'
    )
  if name == 'sp500':  # No duty on sales, and no price limits.
    config.backtest.update(buy_cost=5.0, sell_cost=5.0, limits='none')
  if name == 'simulated':
    use_simulated_market(config)
  if name == 'simulated_large':
    use_simulated_market(config, num_days=4000, num_stocks=300)
  if name == 'simulated_deep':
    use_deep_market(config)
    # Correlation of a planted one with sums of random formulas, from and to.
    config.data.simulate.summed = (0.3, 0.7)
  if name == 'simulated_noise':
    use_deep_market(config, planted=0)


def use_simulated_market(config, num_days=1500, num_stocks=200) -> None:
  """Takes the embedded market and cuts its days 50 : 20 : 30."""
  import numpy as np  # Only business days are simulated.

  config.data.path = ''
  config.data.source = 'simulated'
  config.data.simulate.num_days = num_days
  config.data.simulate.num_stocks = num_stocks
  days = np.busday_offset('2010-01-04', np.arange(num_days), roll='forward')
  cuts = [int(num_days * share) for share in (0.0, 0.5, 0.7, 1.0)]
  for name, start, stop in zip(
    ('train', 'valid', 'test'), cuts[:-1], cuts[1:], strict=True
  ):
    config.splits[name] = (str(days[start]), str(days[stop - 1]))


def use_deep_market(config, planted=4) -> None:
  """Takes a simulated market that is hard to mine, in the noise of real ones.

  See `alphajax.analysis.planting`: `planted` long formulas, drawn by the seed;
  0 for nothing but the noise.
  """
  config.data.simulate = config_dict.ConfigDict(
    dict(
      seed=0,
      num_days=0,
      num_stocks=0,
      planted=planted,  # Formulas of length 6 to 10.
      ic=0.10,  # Expected of their combination.
    )
  )
  use_simulated_market(config, num_days=4000, num_stocks=375)
