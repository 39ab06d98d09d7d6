"""Why a run of a mining method ends."""


def finished(config, mined) -> str | None:
  """Why mining should end.

  A pool that a rule chooses from all formulas has no early stop: the more there
  are the better it chooses, whatever validation says.
  """
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
