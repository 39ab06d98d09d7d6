r"""Transformer on 20 days of the 20 characteristics of qlib's networks.

python -m alphajax.train --config=configs/transformer.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/transformer
"""

from alphajax.configs import lstm


def get_config(variant='csi300'):
  # qlib's examples/benchmarks/Transformer,
  # workflow_config_transformer_Alpha158.yaml @ d5379c5, and the defaults of the
  # class that it names.
  config = lstm.get_config(variant)
  config.method = config.network.name = 'transformer'
  config.num_iterations = 100
  config.network.heads = 2  # Of attention.
  config.network.feed_forward = 2048  # Width inside a layer.
  config.training.batch_size = 8192
  config.training.learning_rate = 1e-4
  config.training.weight_decay = 1e-3
  config.training.patience = 5
  return config
