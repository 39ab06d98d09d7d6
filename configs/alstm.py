r"""ALSTM, a GRU with attention, on 20 days of 20 characteristics.

python -m alphajax.train --config=configs/alstm.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/alstm
"""

from alphajax.configs import lstm


def get_config(variant='csi300'):
  # qlib's examples/benchmarks/ALSTM, workflow_config_alstm_Alpha158.yaml @
  # d5379c5, which has LSTM's sizes.
  config = lstm.get_config(variant)
  config.method = config.network.name = 'alstm'
  return config
