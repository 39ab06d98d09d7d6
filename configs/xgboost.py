r"""XGBoost on the characteristics of Alpha158; needs pip install xgboost-cpu.

python -m alphajax.train --config=configs/xgboost.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/xgboost
"""

from alphajax.configs import lightgbm


def get_config(variant='csi300'):
  config = lightgbm.get_config(variant)
  config.method = 'xgboost'
  # The parameters are those of qlib's examples/benchmarks/XGBoost,
  # workflow_config_xgboost_Alpha158.yaml @ d5379c5; its n_estimators has no
  # effect there and is left out.
  config.booster.library = 'xgboost'
  config.booster.params = dict(
    eta=0.0421, max_depth=8, colsample_bytree=0.8879, subsample=0.8789
  )
  return config
