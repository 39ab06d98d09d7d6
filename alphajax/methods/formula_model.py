"""A formula Transformer with its probes and its library, made and read back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphajax.data import panel_cache
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.language.orders import Orders
from alphajax.methods import formula_tokens, task_bank, task_library
from alphajax.methods.planted_tasks import Sizes
from alphajax.networks import formula_transformer
from alphajax.networks.formula_transformer import FormulaTransformer
from alphajax.run import pretrained


class Model(NamedTuple):
  """What mines formulas, and what it was made on.

  sizes, blocks: what it sees of a market, see `config.tokens`.
  library: formulas to retrieve from; `probes` are positions in it, the first
    of them the anchors.
  panels: f32[M, 2], see `task_bank.Bank`.
  about: what made it, and at which cost.
  """

  network: FormulaTransformer
  orders: Orders
  params: Any
  sizes: Sizes
  blocks: int
  library: tuple[Formula, ...]
  probes: np.ndarray
  panels: np.ndarray
  about: dict[str, Any]


def save(
  path: str | Path,
  params: Any,
  config,
  library: task_library.Library,
  bank: task_bank.Bank,
  cost: Mapping[str, Any],
  *,
  data: str = '',
  half: bool = False,
) -> Path:
  """Writes parameters and all that they need; see `run.pretrained.save`.

  config: of the pre-training.
  cost: what it took and how good it was.
  data: hash of the market; empty: of the one that `config` names.
  """
  tokens = config.tokens
  kept = config.copy_and_resolve_references()
  kept.data.path = Path(config.data.path).name  # Where it lay is no matter.
  if 'pretrain' in kept:
    for name in ('out', 'bank'):
      kept.pretrain[name] = Path(config.pretrain[name]).name
  return pretrained.save(
    path,
    params,
    language=config.language.to_dict(),
    sizes=formula_transformer.Sizes(**config.network.to_dict()),
    widths=pretrained.Widths(
      tokens=formula_tokens.width(tokens.anchors, tokens.blocks),
      context=formula_tokens.NUM_CONTEXT,
    ),
    about={
      'config': kept.to_dict(),
      'seed': config.seed,
      'data_hash': data or data_hash(config),
      'cost': dict(cost),
      'panels': np.asarray(bank.panels).tolist(),
      'probes': np.asarray(library.probes).tolist(),
      'library': [formula_lib.call_text(f) for f in library.formulas],
    },
    half=half,
  )


def data_hash(config) -> str:
  """Of the file that a network was trained on."""
  if config.data.path:
    return panel_cache.content_hash(config.data.path)
  return f'simulated: {config.data.simulate.to_dict()}'


def load(path: str, language: Mapping[str, Any]) -> Model:
  """Reads what `save` wrote; the one that comes with alphajax by default.

  path: empty for that one.
  language: `config.language`, which the network must be able to write.

  Raises:
    RunError: a file is missing or damaged.
    ValueError: a network of another language.
  """
  found = pretrained.load(path or pretrained.SHIPPED, language=language)
  about = found.about
  tokens = dict(about['config']['tokens'])
  features = tuple(about['config']['language']['features'])
  return Model(
    network=found.network,
    orders=found.orders,
    params=found.params,
    sizes=Sizes(**{name: tokens[name] for name in Sizes._fields}),
    blocks=tokens['blocks'],
    library=tuple(formula_lib.parse(t, features) for t in about['library']),
    probes=np.array(about['probes'], int),
    panels=np.array(about['panels'], np.float32).reshape(-1, 2),
    about=about,
  )
