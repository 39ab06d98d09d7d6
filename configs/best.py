r"""What we recommend on any market: evolution, and a pool by resampled days.

python -m alphajax.train --config=configs/best.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/best

Chosen by what was mined on one half of the train days and judged on the other,
and on validation, of two markets; nothing after 2019 was looked at. See
`scripts/README.md` for the figures, and `configs/alphacfg.py` for the paper's.
"""

from alphajax.configs import evolution


def get_config(variant='csi300'):
  config = evolution.get_config(variant)
  config.pool.rule = 'bagged'
  return config
