r"""Random search, the control: uniform over valid rules, the same pool.

python -m alphajax.train --config=configs/random.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/random
"""

from alphajax.configs import alphacfg


def get_config(variant='csi300'):
  config = alphacfg.get_config(variant)
  config.method = 'random_search'
  for unused in ('search', 'network', 'training', 'value'):
    del config[unused]
  return config
