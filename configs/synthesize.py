r"""Synthetic markets made from the training split, and how real they look.

python -m alphajax.synthesize --config=configs/synthesize.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/synthetic

Every panel is a file of WORKDIR/panels that `alphajax.load` reads, and any
command as its `config.data.path`; `quality.txt` and `quality.png` put them
beside the real days.
"""

from ml_collections import config_dict

from alphajax.configs import common

MARKETS = ('csi300', 'sp500', 'simulated')


def get_config(variant='csi300'):
  if variant not in MARKETS:
    raise ValueError(
      f'unknown variant {variant!r}: expected one of {", ".join(MARKETS)}'
    )
  whole = common.get_config()
  common.use_market(whole, variant)
  config = config_dict.ConfigDict()
  for name in ('seed', 'data', 'splits', 'label'):
    config[name] = whole[name]

  config.synthetic = config_dict.ConfigDict()
  # Of bootstrap (real days in a new order) and garch (a process of each
  # factor and stock), the controls.
  config.synthetic.families = ('bootstrap', 'garch')
  config.synthetic.num_panels = 2  # Of each family.
  config.synthetic.num_days = 750  # Of a panel.
  # The stocks with most days as members in the training split.
  config.synthetic.num_stocks = 100 if variant == 'simulated' else 200
  config.synthetic.block = 20.0  # Mean length in days, of bootstrap.
  config.synthetic.num_factors = 4  # Statistical ones, of garch.

  config.quality = config_dict.ConfigDict()
  config.quality.num_panels = 2  # Of each family that are looked at.
  config.quality.num_probes = 48  # Formulas that look at them; 0: none.
  return config
