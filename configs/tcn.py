r"""TCN, dilated causal convolutions, on 20 days of 20 characteristics.

python -m alphajax.train --config=configs/tcn.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/tcn
"""

from alphajax.configs import lstm


def get_config(variant='csi300'):
  # qlib's examples/benchmarks/TCN, workflow_config_tcn_Alpha158.yaml @ d5379c5.
  # There training and prediction swap days and features; here they do not.
  config = lstm.get_config(variant)
  config.method = config.network.name = 'tcn'
  config.network.update(width=32, layers=5, dropout=0.5)
  config.network.kernel = 7  # Days that a convolution reads.
  config.training.batch_size = 2000
  config.training.learning_rate = 1e-4
  config.training.patience = 20
  return config
