r"""LightGBM on the characteristics of Alpha158; needs pip install lightgbm.

python -m alphajax.train --config=configs/lightgbm.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/lightgbm
"""

from ml_collections import config_dict

from alphajax.configs import linear


def get_config(variant='csi300'):
  config = linear.get_config(variant)
  config.method = 'lightgbm'
  config.num_iterations = 100
  # Trees see values as they are, and NaN as such: qlib scales neither.
  del config.ridge
  config.features.scale = 'none'
  config.features.clip = 0.0
  config.features.dtype = 'float32'

  config.booster = config_dict.ConfigDict()
  config.booster.library = 'lightgbm'  # Or xgboost.
  config.booster.rounds = 10  # Trees an iteration; qlib's 1,000 are 100 of it.
  config.booster.patience = 50  # Trees without a better validation loss.
  config.booster.threads = 2  # Of the library.
  # Handed to the library: see its own documentation. Here those of qlib's
  # examples/benchmarks/LightGBM, workflow_config_lightgbm_Alpha158.yaml @
  # d5379c5; its subsample 0.8789 has no effect there, as bagging_freq is 0, and
  # is left out.
  config.booster.params = dict(
    learning_rate=0.2, max_depth=8, num_leaves=210, feature_fraction=0.8879,
    lambda_l1=205.6999, lambda_l2=580.9768,
  )  # fmt: skip
  return config
