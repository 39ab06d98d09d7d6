r"""AlphaQCM: distributional Q-learning on RPN, variance as a bonus.

python -m alphajax.train --config=configs/alphaqcm.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/alphaqcm

Numbers are those of ZhuZhouFan/AlphaQCM, read in `qcm_config/iqn.yaml` and the
agents as public copies of it have them (gry1024/Alpha-Counterfactual-,
Ethereal-O/lj_automl), unless a comment says otherwise. There the target network
of the mean returns never moves, and the best next action may be one that is
forbidden; here both are as the paper has them. Neither is dueling, double or
noisy.
"""

from ml_collections import config_dict

from alphajax.configs import common


def get_config(variant='csi300'):
  config = common.get_config()
  common.use_market(config, variant)
  config.method = 'alphaqcm'
  config.language.name = 'rpn'
  config.language.max_length = 20  # Tokens.
  config.pool.capacity = 20

  config.qcm = config_dict.ConfigDict()
  # Of the standard deviation, added to the mean return of an action.
  config.qcm.bonus = 1.0
  config.qcm.discount = 1.0  # Of what comes a move later.
  config.qcm.kappa = 1.0  # Of the Huber loss.
  config.qcm.num_levels = 64  # Quantiles drawn for the loss,
  config.qcm.num_target_levels = 64  # of the next state,
  # and for moments, drawn anew for every move.
  config.qcm.num_moment_levels = 32
  # The first moves, of 2 million there: random, and nothing is learned.
  config.qcm.start_steps = 10_000
  # Moves from the first on in which the share of random ones falls from 1
  config.qcm.random_decay_steps = 25_000
  config.qcm.random_share = 0.01  # to this.

  config.network = config_dict.ConfigDict()
  # Or 'cnn', 'transformer', or the import path of your own.
  config.network.encoder = 'lstm'
  config.network.width = 128
  config.network.num_cosines = 64  # That a quantile level goes in as.

  config.training = config_dict.ConfigDict()
  config.training.learning_rate = 5e-5  # Of Adam.
  config.training.batch_size = 128  # Moves.
  config.training.replay_size = 100_000  # Moves kept.
  # Gradient steps an iteration. AlphaQCM takes one after every move, hundreds
  # in an iteration of 100 formulas; cut for two cores.
  config.training.num_updates = 50
  # Moves from one copy to the target networks to the next, at the end of an
  # iteration.
  config.training.target_interval = 5_000
  # Moves are drawn by the size of their error to this power; 0: all alike.
  config.training.priority_exponent = 0.6
  # Of the weights that take the bias off again, at 1 all of it; there it rises
  # from .4 to 1.
  config.training.importance_exponent = 0.4

  config.value = config_dict.ConfigDict()
  # What a game returns: the IC of the pool after it; `factor`: of the formula
  # alone; `unexplained`: its correlation with what the pool leaves of the
  # label.
  config.value.reward = 'pool'
  config.value.scale = 1.0
  # A formula that was evaluated before is worth `nothing`, or the `same`.
  config.value.duplicates = 'nothing'
  # ic, icir or lcb (mean - beta * std) of the daily series; see alphacfg.py.
  config.value.objective = 'ic'
  config.value.beta = 1.0  # Of lcb.
  return config
