r"""Synthetic markets made from the training split, and how real they look.

python -m alphajax.synthesize --config=configs/synthesize.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/synthetic

Every panel is a file of WORKDIR/panels that `alphajax.load` reads, and any
command as its `config.data.path`; `quality.txt` and `quality.png` put them
beside the real days. `paper` after the market makes those of AlphaFormer's own
model: each stock by itself, of the three networks the likeliest.
"""

from ml_collections import config_dict

from alphajax.configs import alphaformer_paper, common

MARKETS = ('csi300', 'sp500', 'simulated')


def get_config(variant='csi300'):
  market, comma, kind = variant.partition(',')
  if market not in MARKETS or (comma and kind != 'paper'):
    raise ValueError(
      f'unknown variant {variant!r}: expected one of {", ".join(MARKETS)}, and '
      'after it nothing or ,paper'
    )
  whole = common.get_config()
  common.use_market(whole, market)
  config = config_dict.ConfigDict()
  for name in ('seed', 'data', 'splits', 'label'):
    config[name] = whole[name]

  config.synthetic = config_dict.ConfigDict()
  # Of bootstrap (real days in a new order) and garch (a process of each factor
  # and stock), the controls; gru, transformer and diffusion, networks that draw
  # a path of the market and then every stock given it; ensemble, stocks of all
  # three that look real to an evaluator; and any of these four with
  # _independent behind its name, each stock by itself.
  config.synthetic.families = (
    'bootstrap', 'garch', 'gru', 'transformer', 'diffusion', 'ensemble',
    'gru_independent',
  )  # fmt: skip
  config.synthetic.num_panels = 2  # Of each family.
  config.synthetic.num_days = 750  # Of a panel.
  # The stocks with most days as members in the training split.
  config.synthetic.num_stocks = 100 if market == 'simulated' else 200
  config.synthetic.block = 20.0  # Mean length in days, of bootstrap.
  config.synthetic.num_factors = 4  # Statistical ones, of garch.

  config.gru = config_dict.ConfigDict()
  config.gru.width = 96  # Of the state of a stock,
  config.gru.common_width = 32  # and of the one series of the market.
  config.gru.num_components = 3  # Student distributions of a channel.
  config.gru.num_updates = 400  # At most: it ends where nothing gets better.
  config.gru.batch_size = 32  # Windows of one stock in an update,
  config.gru.window = 96  # and days of a window.
  config.gru.learning_rate = 3e-3  # At its height.

  config.transformer = config_dict.ConfigDict()
  config.transformer.width = 128  # Of the state of a stock,
  config.transformer.common_width = 32  # and of the series of the market.
  config.transformer.num_layers = 3  # Of attention.
  config.transformer.num_heads = 4  # Must divide both widths.
  config.transformer.num_components = 3  # Student distributions of a channel.
  config.transformer.num_updates = 400  # At most, as of gru.
  config.transformer.batch_size = 16  # Windows of one stock in an update.
  config.transformer.window = 128  # Also the days that a day attends to.
  config.transformer.learning_rate = 1e-3  # At its height.

  config.diffusion = config_dict.ConfigDict()
  config.diffusion.width = 64  # Of a day of a stock,
  config.diffusion.common_width = 48  # and of a day of the market.
  config.diffusion.num_blocks = 4  # Of attention and gates.
  config.diffusion.num_heads = 4  # Must divide both widths.
  config.diffusion.num_steps = 50  # From a window to noise,
  config.diffusion.sample_steps = 20  # and back, at most.
  config.diffusion.num_updates = 2000  # At most, as of gru.
  config.diffusion.batch_size = 32  # Windows of one stock in an update.
  config.diffusion.window = 64  # Days drawn at once,
  config.diffusion.num_given = 16  # the first of them those before.
  config.diffusion.learning_rate = 1e-3  # At its height.

  # An LSTM, fitted to stocks that the generators do not know, says how likely a
  # path is.
  config.evaluator = config_dict.ConfigDict()
  config.evaluator.num_stocks = 100  # At most; those next in member-days.
  config.evaluator.width = 128
  config.evaluator.num_components = 3
  config.evaluator.num_updates = 400
  config.evaluator.batch_size = 32
  config.evaluator.window = 96
  config.evaluator.learning_rate = 3e-3

  config.ensemble = config_dict.ConfigDict()
  # Of a stock in each family, to choose from.
  config.ensemble.num_candidates = 2
  # typical: as likely as real paths are, a third of each family; or argmax: the
  # likeliest of a stock, which is the dullest, as AlphaFormer does.
  config.ensemble.rule = 'typical'

  config.quality = config_dict.ConfigDict()
  config.quality.num_panels = 2  # Of each family that are looked at.
  config.quality.num_probes = 48  # Formulas that look at them; 0: none.
  # Of the training days in blocks, for how far figures vary by chance; 0: none.
  config.quality.num_resamples = 40
  if kind:
    _use_paper(config, market)
  return config


def _use_paper(config, market: str) -> None:
  """As many panels of its size as `alphaformer.py:MARKET,paper` reads.

  The paper has 1,000, of 300 to 800 stocks and 500 to 1,000 days.
  """
  config.synthetic.families = ('ensemble_independent',)
  config.ensemble.rule = 'argmax'
  config.ensemble.num_candidates = 1  # The path of each network.
  panels = alphaformer_paper.get_config(market).panels
  for name in ('num_panels', 'num_days', 'num_stocks'):
    config.synthetic[name] = panels[name]
