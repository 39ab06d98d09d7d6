r"""AlphaCFG with the paper's settings (Appendix H).

python -m alphajax.train --config=configs/alphacfg.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/csi300

A market of common.MARKETS, such as csi300 or simulated. After a comma follows
`learning` (`alphacfg.py:sp500,learning`) for settings of ours under which the
search learns from a thousand formulas; `best` (alone it is csi300) for the
paper's, but half of the games begin as a formula of the pool does; or `prior`,
for a pre-trained formula Transformer (`alphaformer.py`) as the prior.
"""

from ml_collections import config_dict

from alphajax.configs import common


def get_config(variant='csi300'):
  config = common.get_config()
  config.method = 'alphacfg'

  config.search = config_dict.ConfigDict()
  config.search.num_simulations = 64  # Of each move.
  # Whose loops grow the trees: 'tree', ours, or 'mctx', the same slower.
  config.search.engine = 'tree'
  config.search.policy = 'puct'  # Or 'gumbel', which reads num_considered.
  config.search.num_considered = 16  # Actions that Gumbel compares at a root.
  # The rest of config.search is read by 'puct', known_rewards and backup by
  # both. Of the engines, 'tree' alone reads reuse_subtree and backup = 'max'.
  config.search.c_puct = 1.0
  config.search.branch_adapted = True  # sqrt(b / base_branches) of Eq. 8.
  config.search.base_branches = 40  # b_ref of Eq. 8.
  # From start to end within so many moves of a game or iterations of the run.
  config.search.temperature = config_dict.ConfigDict(
    dict(start=1.0, end=1.0, moves=0, iterations=0)
  )
  # Noise at every root.
  config.search.dirichlet_fraction = 0.0
  config.search.dirichlet_alpha = 0.3  # Of that noise.
  config.search.q_transform = 'none'  # The paper's Q; 'minmax' rescales it.
  # A move is worth the `mean` of what was found below it, or the `max`.
  config.search.backup = 'mean'
  # A search goes on with the last one's subtree below the chosen move.
  config.search.reuse_subtree = False
  # Share of the games that begin with a part of a formula known; 0 in the
  # paper. Refinement has no pool, and so none of them.
  config.search.openings = 0.0
  # That part is the `prefix` of its moves, or all but a `node` left open.
  config.search.openings_at = 'prefix'
  # Formulas of the `pool`, or of `niches`: the strongest that are unlike each
  # other, which needs another config.pool.rule than algorithm1.
  config.search.openings_from = 'pool'
  # A finished formula that was scored before is worth its last value target,
  # not what the network says.
  config.search.known_rewards = False

  config.network = config_dict.ConfigDict()
  # Or 'lstm', 'cnn', 'transformer', or the import path of your own.
  config.network.encoder = 'tree_lstm'
  config.network.width = 128  # Embedding and hidden state.
  config.network.dropout = 0.1  # While learning, never in a search.

  config.training = config_dict.ConfigDict()
  config.training.learning_rate = 1e-4  # Of Adam.
  config.training.batch_size = 64  # States; rows of predictors.
  config.training.replay_size = 20_000  # States kept.
  config.training.num_updates = 50  # Gradient steps an iteration.
  config.training.l2 = 1e-4  # Weight of the squared parameters.

  config.value = config_dict.ConfigDict()
  # Eq. 5 with the similarity of the finished `formula` or of each `state`;
  # `none` leaves the similarity out.
  config.value.similarity = 'formula'
  # IC of the pool; 'gain': less that of the pool before; 'factor': of the
  # formula alone; 'unexplained': its correlation with what the pool before it
  # leaves of the label; or the import path of your reward(outcome, objective).
  config.value.reward = 'pool'
  # An IC of 0.05 is lost beside PUCT's exploration and the policy's loss; the
  # paper leaves it as it is.
  config.value.scale = 1.0
  # What the network learns of the reward: itself (`none`), its `rank` among
  # the new formulas of the iteration, from 0 to 1, what is at most 1 of it
  # after scaling (`clip`), or the same where 1 is the largest |IC|, or what the
  # objective has in its place, of all formulas so far (`strongest`).
  config.value.normalize = 'none'
  # A formula that was evaluated before is worth the `same`, or `nothing`.
  config.value.duplicates = 'same'
  # States in the replay learn what their formulas are worth beside the pool of
  # now, by `normalize` among all formulas so far. Needs the reward
  # 'unexplained', similarity 'none', duplicates 'same', the objective 'ic', no
  # search.known_rewards and another pool.rule than algorithm1, pool.keep = 0.
  config.value.refresh = False
  # What of the daily series counts: ic, icir or lcb (mean - beta * std); for
  # the reward of a factor also rank_ic, rank_icir, rank_lcb; or the import path
  # of an Objective of yours.
  config.value.objective = 'ic'
  config.value.beta = 1.0  # Of lcb.

  market, _, settings = variant.partition(',')
  if market == 'best':
    market, settings = 'csi300', 'best'
  if settings not in ('', *VARIANTS):
    raise ValueError(
      f'unknown variant {variant!r}: only {", ".join(VARIANTS)} goes after a ,'
    )
  common.use_market(config, market)
  if settings:
    VARIANTS[settings](config)
  return config


def use_learning(config) -> None:
  """A search that learns from a thousand formulas what is a useful one.

  Under the paper's reward, the IC of the pool, it learns what has a value at
  all, and without noise at its roots it then writes that alone: see
  `alphajax/methods/README.md`.
  """
  # Half of the games begin as one of the strongest formulas does.
  config.search.openings, config.search.openings_from = 0.5, 'niches'
  # Without noise a root settles on few rules for having chosen them before.
  config.search.dirichlet_fraction = 0.25
  # A formula is worth what it says of what the pool leaves of the label, beside
  # the strongest so far, and nothing again.
  config.value.reward, config.value.duplicates = 'unexplained', 'nothing'
  config.value.normalize = 'strongest'
  config.search.known_rewards = True
  config.training.learning_rate = 1e-3
  config.pool.rule = 'elastic_net'


def use_best(config) -> None:
  """The paper's settings and the one option that earned its place.

  See `scripts/search_options.py` for what was measured. Half of the games begin
  as a formula of the pool does; the rest is the paper's.
  """
  config.search.openings = 0.5


def use_prior(config) -> None:
  """The search expects what a pre-trained formula Transformer would write."""
  config.checkpoint = ''  # FILE.npz of a pre-training; empty: ours.
  config.screen.twin = 0.97  # What formulas do is seen there; none is left out.
  config.prior = config_dict.ConfigDict()
  config.prior.num_probes = 64  # Formulas evaluated first, for it to read.
  # Share of the prior that goes to all valid rules alike. At the root it is a
  # quarter: Dirichlet noise of so large an alpha is as good as uniform.
  config.prior.uniform = 0.1
  config.search.dirichlet_fraction = 1 / 6
  config.search.dirichlet_alpha = 1000.0
  # A finished formula is worth what the network says and, so many times, the
  # gain in IC that the Transformer's score head expects by its symbols.
  config.prior.score = 0.5


VARIANTS = {'learning': use_learning, 'best': use_best, 'prior': use_prior}
