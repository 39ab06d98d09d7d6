"""What labels are neutralised by, where that is more than a feature's name.

`log_market_cap` is the logarithm of the column `market_cap`; any other text
that is no name, such as `Std(close,20)`, is a formula. `panel.split` reads
names itself and takes `values` for the rest.
"""

from collections.abc import Collection, Sequence

import jax

from alphajax.data import neutral
from alphajax.data.panel import Panel
from alphajax.factor import evaluate
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula, FormulaError


def columns(names: Sequence[str], known: Collection[str] = ()) -> list[str]:
  """The features that regressors read, each once.

  known: features that there are in any case. `log_x` reads `x`, unless it is
    one of them.

  Raises:
    ValueError: a text that is neither a name nor a formula.
  """
  found = {}
  for name in names:
    read = [name] if name in known else _read(name)
    found |= dict.fromkeys(read)
  return list(found)


def lookback(names: Sequence[str]) -> int:
  """Bars before a day that its regressors need."""
  texts = [name for name in names if not name.isidentifier()]  # The rest: 0.
  return max((formula_lib.lookback(_parse(text)) for text in texts), default=0)


def values(panel: Panel, text: str) -> jax.Array:
  """The values of a formula that is a regressor, f32[T, S].

  Raises:
    ValueError: no formula, or one of a feature that the panel does not have.
  """
  (found,) = evaluate.values([_parse(text)], panel)
  return found


def _read(name: str) -> list[str]:
  """Features that one regressor reads."""
  if name.isidentifier():
    return [name.removeprefix(neutral.LOG)]
  return _leaves(_parse(name))


def _leaves(formula: Formula) -> list[str]:
  return [
    node.symbol
    for node in formula_lib.nodes(formula)
    if not node.args and not formula_lib.is_number(node)
  ]


def _parse(text: str) -> Formula:
  """A formula of any features: whether the data have them is seen later."""
  try:
    names = _leaves(formula_lib.unchecked(text))
    return formula_lib.parse(text, tuple({*vocab.FEATURES, *names}))
  except FormulaError as error:
    raise ValueError(
      f'label.neutralize: {error}\nEach regressor is a text of its own: '
      "--config.label.neutralize=\"('industry','log_market_cap')\""
    ) from error
