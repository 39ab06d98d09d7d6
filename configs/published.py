r"""A published pool, or formulas of your own, weighted anew on train.

python -m alphajax.train --config=configs/published.py:csi300 \
  --config.published.name=alpha158 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/alpha158
"""

from ml_collections import config_dict

from alphajax.configs import random


def get_config(variant='csi300'):
  config = random.get_config(variant)
  config.method = 'published'
  config.num_iterations = 1
  # A file of formulas: text of one a line, pool.json, .jsonl or .csv.
  config.formulas = ''
  config.published = config_dict.ConfigDict()
  # table9, the pool that the paper shows; alpha101, gtja191, alpha158; or file,
  # those of config.formulas.
  config.published.name = 'table9'
  config.published.dialect = 'ours'  # The notation of the file.
  # Lines of it that are no formula are an error that names each; False: they
  # are left out, and told of.
  config.published.strict = True
  config.published.held = ''  # What was read; set by the run.
  # How formulas are weighted; as of other pools.
  config.pool.rule = 'elastic_net'
  return config
