r"""AlphaFormer: a pre-trained Transformer that writes formulas for a market.

python -m alphajax.train --config=configs/alphaformer.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/zero_shot

The market is read as a set of evaluated formulas and their statistics. The
variant after the market says what is done: `zero_shot`, the default, mines with
parameters that stay; `finetune` goes on learning from what it evaluates;
`pretrain` makes parameters on planted tasks, in less than an hour of two cores;
`pretrain_gpu` those that come with alphajax, see `scripts/pretrain.py`;
`paper` is the model of the paper (`alphaformer_paper.py`).
"""

from ml_collections import config_dict

from alphajax.configs import alphaformer_paper, common

VARIANTS = ('zero_shot', 'finetune', 'pretrain', 'pretrain_gpu', 'paper')


def get_config(variant='csi300'):
  market, _, kind = variant.partition(',')
  kind = kind or VARIANTS[0]
  if kind not in VARIANTS:
    raise ValueError(
      f'unknown variant {variant!r}: expected a market, and after it one of '
      f'{", ".join("," + each for each in VARIANTS)}'
    )
  if kind == 'paper':
    return alphaformer_paper.get_config(market)
  config = common.get_config()
  common.use_market(config, market)
  config.early_stop = 0.0
  config.screen.twin = 0.97
  if kind.startswith('pretrain'):
    _network(config)
    _pretrain(config)
    if kind == 'pretrain_gpu':
      _on_a_gpu(config)
    return config
  _mine(config)
  if kind == 'finetune':
    _finetune(config)
  return config


def _mine(config):
  """The network, its probes and its library are those of the checkpoint."""
  config.method = 'alphaformer'
  config.num_iterations = 50
  config.num_trajectories = 50
  config.pool.rule = 'bagged'
  config.checkpoint = ''  # FILE.npz of a pre-training; empty: ours.
  config.alphaformer = config_dict.ConfigDict()
  config.alphaformer.num_probes = 64  # Evaluated first.
  config.alphaformer.samples = 512  # Formulas written in an iteration,
  # by logits divided by this: a real market seems loud, and one writes little.
  config.alphaformer.temperature = 1.5
  config.alphaformer.top_p = 1.0  # Of actions that hold so much probability.
  # What is evaluated: formulas of the `model`, of its `library`, or `both`.
  config.alphaformer.proposals = 'both'
  # By what the `score` head expects, by the regression (`kernel`), or by
  # the mean of `both`.
  config.alphaformer.rank = 'both'
  config.alphaformer.explore = 1.0  # See configs/retrieval.py.
  config.alphaformer.max_corr = 0.5  # Of two formulas of an iteration.
  # What is taken from the network, to see what it is good for:
  # random_parameters, zero_memory, no_pool, no_retrieved, permuted_probes; or
  # other_market: its probes have the ICs that they have on another panel.
  config.alphaformer.ablate = ''
  config.alphaformer.other = ''  # File or folder of that panel.


def _finetune(config):
  """The network goes on learning on the training split."""
  config.finetune = config_dict.ConfigDict()
  config.finetune.buffer = 64  # Formulas that it is taught, the best by gain on
  config.finetune.tau = 0.003  # blocks left out; weights exp(gain / tau).
  config.finetune.num_updates = 4  # In an iteration.
  config.finetune.learning_rate = 3e-5  # Of Adam.
  config.finetune.kl = 0.1  # Weight of the divergence from what it was.


def _network(config):
  """Sizes of the network, and of what it sees."""
  config.network = config_dict.ConfigDict()
  config.network.width = 64
  config.network.heads = 4
  config.network.hidden = 256  # Of the dense layers.
  config.network.latents = 24  # Rows that the set of formulas becomes.
  config.network.latent_layers = 2  # Of attention among them.
  config.network.decoder_layers = 3

  config.tokens = config_dict.ConfigDict()
  config.tokens.anchors = 64  # Probes whose correlations say what one does.
  config.tokens.blocks = 8  # Of train days, with an IC of each.
  config.tokens.pool = 16  # Formulas of a pool that are seen,
  config.tokens.tried = 8  # of those evaluated last,
  config.tokens.retrieved = 12  # and of the library, best by regression;
  config.tokens.references = 2  # of these the decoder reads the symbols.
  config.tokens.ridge = 0.3  # Of the regression.
  config.tokens.scored = 16  # Random ones a task teaches the score head.


def _pretrain(config):
  config.method = 'pretraining'
  config.num_iterations = 200
  config.pretrain = config_dict.ConfigDict()
  # Files of more panels, or folders of alphajax synthesize, with commas.
  config.pretrain.panels = ''
  # Where labels are planted: `real`, the training split and those panels; the
  # `panels` alone; or of them one family: bootstrap, garch, gru, transformer,
  # diffusion, ensemble, each maybe with _independent behind it.
  config.pretrain.markets = 'real'
  # FILE.npz that the library and what was measured of it are read from, or
  # written to where it does not exist yet; empty: made anew at every start.
  config.pretrain.bank = ''
  config.pretrain.library = 2000  # Formulas drawn; those that speak are kept.
  config.pretrain.num_probes = 96  # Of them, evaluated in every task.
  config.pretrain.probe_size = 8  # Nodes of a probe, at most.
  config.pretrain.stocks = 300  # That correlations are measured on,
  config.pretrain.days = 480  # and days of the split.
  config.pretrain.draws = 256  # Of noise.
  # Days of the labels, one after the other of the draws.
  config.pretrain.horizons = (20, 20, 20, 5, 20, 20, 20, 10, 20, 1)
  config.pretrain.held_share = 0.1  # Of formulas that training never sees.
  config.pretrain.batch_size = 32  # Tasks of an update,
  config.pretrain.num_updates = 50  # and updates of an iteration.
  config.pretrain.learning_rate = 1.5e-3  # At its height,
  config.pretrain.warmup = 0.02  # after so much of all updates.
  config.pretrain.weight_decay = 0.01  # Of AdamW.
  config.pretrain.clip = 1.0  # Norm of a gradient.
  config.pretrain.average = 0.999  # Decay of the parameters' mean.
  config.pretrain.label_smoothing = 0.05  # Share of all valid symbols.
  config.pretrain.every = 15  # Iterations from one look at held-out tasks.
  config.pretrain.gate_tasks = 24  # Held-out tasks looked at.
  config.pretrain.gate_samples = 100  # Formulas drawn for each,
  config.pretrain.gate_temperature = 1.0  # by logits divided by this.
  # FILE.npz that parameters are written to after each look; empty: none.
  config.pretrain.out = ''


def _on_a_gpu(config):
  """Twice as wide, and far more tasks, of more formulas."""
  config.network.width = 128
  config.network.hidden = 512
  config.network.latents = 32
  config.network.latent_layers = 4
  config.network.decoder_layers = 4
  config.tokens.retrieved = 16
  config.tokens.references = 6
  config.pretrain.library = 6000
  config.pretrain.batch_size = 512
  config.pretrain.num_updates = 20
  config.pretrain.learning_rate = 1e-3
  config.num_iterations = 500
