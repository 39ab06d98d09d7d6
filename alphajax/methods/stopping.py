"""Why a run of a mining method ends."""

from collections.abc import Collection, Sequence

from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula


def finished(config, mined, given: int = 0) -> str | None:
  """Why mining should end; never before a pool was chosen once.

  A pool that a rule chooses from all formulas has no early stop: the more there
  are the better it chooses, whatever validation says.

  given: formulas that the run began with.
  """
  if not mined.iteration:
    return None
  if config.max_evaluated and given >= config.max_evaluated:
    return (
      f'a pool was chosen from the {given} formulas that the run began with, '
      f'and config.max_evaluated = {config.max_evaluated} leaves none to '
      'evaluate beside them'
    )
  waited = mined.iteration - mined.found.iteration
  if config.pool.get('rule', 'algorithm1') != 'algorithm1':
    waited = 0
  return reason_to_end(
    config, len(mined.book), waited, 'no better validation IC'
  )


def reason_to_end(config, evaluated: int, waited: int, what: str) -> str | None:
  """The budget of evaluations, or early stopping.

  waited: iterations since there last was something better.
  what: it is that did not come.
  """
  if config.max_evaluated and evaluated >= config.max_evaluated:
    return f'{evaluated} formulas evaluated, as config.max_evaluated says'
  patience = round(config.early_stop * config.num_iterations)
  if patience and waited >= patience:
    return (
      f'{what} for {waited} iterations '
      f'(config.early_stop = {config.early_stop} of {config.num_iterations})'
    )
  return None


def within_budget(
  config, book: Collection[str], formulas: Sequence[Formula]
) -> list[Formula]:
  """The first of them, as many as may still be evaluated.

  book: keys of the formulas evaluated so far, which cost nothing.
  """
  if not config.max_evaluated:
    return list(formulas)
  kept, new = [], set()
  for formula in formulas:
    name = formula_lib.key(formula)
    if name not in book:
      new.add(name)
    if len(book) + len(new) > config.max_evaluated:
      break
    kept.append(formula)
  return kept
