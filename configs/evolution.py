r"""Evolution: the best formulas varied, and a pool chosen from all of them.

python -m alphajax.train --config=configs/evolution.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/evolution

After the market and a comma, `proposer`: half of the formulas without a parent
are written by a pre-trained formula Transformer (`alphaformer.py`).
"""

from ml_collections import config_dict

from alphajax.configs import common
from alphajax.search import evolution


def get_config(variant='csi300'):
  market, comma, settings = variant.partition(',')
  if comma and settings != 'proposer':
    raise ValueError(
      f'unknown variant {variant!r}: only proposer goes after a ,'
    )
  config = common.get_config()
  common.use_market(config, market)
  config.method = 'evolution'
  config.num_iterations = 50
  config.num_trajectories = 50
  config.early_stop = 0.0
  config.screen.twin = 0.99
  config.pool.rule = 'elastic_net'

  config.evolution = config_dict.ConfigDict()
  # Whose derivations are varied: `niches`, the strongest formulas that are
  # unlike each other, or the `pool` of Algorithm 1.
  config.evolution.parents = 'niches'
  config.evolution.num_parents = 30  # Niches at most.
  config.evolution.niche_corr = 0.7  # Between two of them, by its size.
  # The strength of a parent: its `own` IC, or what the chosen pool leaves
  # `unexplained`: its correlation with the rest of the label.
  config.evolution.fitness = 'own'
  config.evolution.fresh = 0.1  # Share of formulas without a parent.
  config.evolution.start = 150  # Formulas before there are parents.
  config.evolution.candidates = 3  # Proposed at a time for each evaluated.
  config.evolution.operators = evolution.OPERATORS  # How a parent is varied.
  # Which parent is varied how and where: `uniform`, all as likely, or
  # `learned` from what came of the children of this run.
  config.evolution.policy = 'uniform'
  config.evolution.learned = config_dict.ConfigDict()
  # Of a child that is neither dead nor known: the size of its `own` IC, what of
  # it the pool of Algorithm 1 before it leaves `unexplained`, or its `gain` in
  # fitness on its parent where it is better, which is seldom. Of any other, 0.
  config.evolution.learned.outcome = 'own'
  # Standard deviations of what is believed that weights are drawn from.
  config.evolution.learned.explore = 1.0
  # Of the softmax over edits, in standard deviations of the outcomes.
  config.evolution.learned.temperature = 0.3
  config.evolution.learned.uniform = 0.2  # Share drawn uniformly.
  config.evolution.learned.ridge = 10.0  # On weights, in children.
  if settings:
    use_proposer(config)
  return config


def use_proposer(config) -> None:
  """A formula Transformer writes a part of what has no parent."""
  config.checkpoint = ''  # FILE.npz of a pre-training; empty: ours.
  config.evolution.fresh = 0.2
  config.proposer = config_dict.ConfigDict()
  # Share of the formulas without a parent: at the beginning all are.
  config.proposer.share = 0.5
  config.proposer.num_probes = 64  # Formulas evaluated first, for it to read.
  config.proposer.samples = 256  # Formulas written at a time,
  config.proposer.temperature = 1.0  # by logits divided by this,
  config.proposer.top_p = 0.98  # of rules that hold so much probability.
