r"""GFlowNet: formulas drawn in proportion to their reward, as AlphaSAGE does.

python -m alphajax.train --config=configs/gflownet.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/gflownet

Numbers are those of BerkinChen/AlphaSAGE, of its README's command and of
`src/gfn/config.py`, unless a comment says otherwise. Its encoder of formulas as
graphs and the reward for what that finds alike (`ssl_weight`) are left out.
"""

from ml_collections import config_dict

from alphajax.configs import common


def get_config(variant='csi300'):
  config = common.get_config()
  common.use_market(config, variant)
  config.method = 'gflownet'
  # 10,000 episodes there, in batches of 64.
  config.num_iterations = 156
  config.num_trajectories = 64
  config.language.name = 'rpn'
  config.language.max_length = 15  # Tokens.

  config.gflownet = config_dict.ConfigDict()
  # log R is beta * log(worth) (`power`) or beta * worth (`exp`), where the
  # worth is |IC| + novelty * (1 - the largest |correlation| with the pool).
  config.gflownet.transform = 'power'
  # Above 1, not published, the best are drawn more often.
  config.gflownet.beta = 1.0
  config.gflownet.floor = 1e-6  # Of the worth; that of a dead formula.
  config.gflownet.novelty = 0.3  # To 0 by the last iteration, in a line.
  config.gflownet.entropy = 0.01  # Of the policy, in the balance.

  config.network = config_dict.ConfigDict()
  # Or 'cnn', 'transformer', or the import path of your own.
  config.network.encoder = 'lstm'
  config.network.width = 128

  config.training = config_dict.ConfigDict()
  config.training.learning_rate = 1e-4  # Of Adam.
  # That of log Z, from Malkin et al. 2022; AlphaSAGE has one rate for all.
  config.training.log_z_rate = 0.1
  config.training.batch_size = 64  # Games.
  # Of ours: AlphaSAGE keeps no game and takes one step for each batch, which is
  # replay_size=64 and num_updates=1.
  config.training.replay_size = 1_000  # Games kept.
  config.training.num_updates = 8  # Gradient steps an iteration.
  return config
