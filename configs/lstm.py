r"""LSTM on 20 days of the 20 characteristics that qlib's networks read.

python -m alphajax.train --config=configs/lstm.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/lstm
"""

from ml_collections import config_dict

from alphajax.configs import linear


def get_config(variant='csi300'):
  config = linear.get_config(variant)
  config.method = 'lstm'
  del config.ridge
  # From here on qlib's examples/benchmarks/LSTM,
  # workflow_config_lstm_Alpha158.yaml @ d5379c5.
  config.num_iterations = 200  # Epochs.
  config.features.name = 'selected'
  config.features.days = 20
  config.features.scale = 'robust'

  config.network = config_dict.ConfigDict()
  # lstm, alstm, tcn, transformer, or the import path of a flax module of your
  # own, called with f32[B, days, features] and train=True or False.
  config.network.name = 'lstm'
  config.network.copies = 1  # Trained side by side; the signal is their mean.
  config.network.width = 64
  config.network.layers = 2  # Recurrent ones, blocks or encoder layers.
  config.network.dropout = 0.0

  config.training.label = 'rank'
  config.training.batch_size = 800
  config.training.learning_rate = 1e-3
  config.training.weight_decay = 0.0  # Part of the gradient.
  config.training.patience = 10  # Epochs without a better validation loss.
  return config
