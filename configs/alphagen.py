r"""AlphaGen: postfix formulas by PPO with masks, paid by the IC of their pool.

python -m alphajax.train --config=configs/alphagen.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/alphagen

Settings: [paper] Yu et al. 2023 (KDD), arXiv 2306.12964; [code] the file of
RL-MLDM/alphagen on GitHub; [sb3] defaults of MaskablePPO of sb3-contrib, which
AlphaGen leaves as they are. Other than there: whole games are played, 128 for
the 2,048 moves between two updates; masks let no formula run over the bound;
the weights of a pool are solved for, not approached.
"""

from ml_collections import config_dict

from alphajax.configs import common


def get_config(variant='csi300'):
  config = common.get_config()
  common.use_market(config, variant)
  config.method = 'alphagen'
  # 25,600 formulas: as many as 200,000 moves [code: scripts/rl.py, of a pool of
  # 10] write of 8 tokens. The first ones, nearly at random, have 20.
  config.num_iterations = 200
  config.num_trajectories = 128
  config.early_stop = 0.0
  # What looks back further is paid nothing, unseen
  # [code: alphagen_qlib/stock_data.py].
  config.lookback = 100

  config.language.name = 'rpn'
  # [paper]; [code: alphagen/config.py] counts the beginning in.
  config.language.max_length = 20
  # [code: alphagen/config.py] this and the next two.
  config.language.operators = (
    'Abs', 'Log', 'Add', 'Sub', 'Mul', 'Div', 'Greater', 'Less', 'Ref', 'Mean',
    'Sum', 'Std', 'Var', 'Max', 'Min', 'Med', 'Mad', 'Delta', 'WMA', 'EMA',
    'Cov', 'Corr',
  )  # fmt: skip
  config.language.windows = (10, 20, 30, 40, 50)
  config.language.constants = (
    -30.0, -10.0, -5.0, -2.0, -1.0, -0.5, -0.01,
    0.01, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
  )  # fmt: skip

  config.pool.capacity = 10  # [paper] has 10, 20, 50 and 100.
  config.pool.l1 = 0.005  # [code: scripts/rl.py]
  # Mean correlation above .99 with a member: turned away and paid nothing
  # [code: alphagen/models/linear_alpha_pool.py].
  config.pool.accept = 'distinct'

  config.network = config_dict.ConfigDict()
  config.network.num_layers = 2  # Of the LSTM [code: scripts/rl.py],
  config.network.width = 128  # its units,
  config.network.dropout = 0.1  # and what is dropped between, while learning.

  config.ppo = config_dict.ConfigDict()
  config.ppo.learning_rate = 3e-4  # [sb3] Of Adam.
  config.ppo.num_epochs = 10  # [sb3] On the games of an iteration.
  # Equal parts of the games: 2,048 moves [sb3] in parts of 128 [code].
  config.ppo.num_minibatches = 16
  config.ppo.clip = 0.2  # [sb3] Of the ratio of probabilities, from 1.
  config.ppo.value_weight = 0.5  # [sb3] Of the squared error of the value.
  config.ppo.entropy_weight = 0.01  # [code: scripts/rl.py]
  config.ppo.max_grad_norm = 0.5  # [sb3]
  config.ppo.discount = 1.0  # [code: scripts/rl.py]
  config.ppo.gae_lambda = 0.95  # [sb3] Of the estimates of advantages.
  config.ppo.normalize = True  # [sb3] Advantages, within a minibatch.

  config.value = config_dict.ConfigDict()
  # Of the `pool` after the formula [paper]; `factor`: of the formula alone;
  # `unexplained`: its correlation with what the pool leaves of the label.
  config.value.reward = 'pool'
  config.value.objective = 'ic'  # Or icir, lcb [code: MeanStdAlphaPool].
  config.value.beta = 1.0  # Of lcb.
  return config
