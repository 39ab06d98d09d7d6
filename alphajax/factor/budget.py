"""How many values a store has room for."""

DEFAULT_BUDGET = 1 << 29  # Bytes of the store; more gains few nodes.
MIN_VALUES = 8  # A store must hold the operands and results of a formula.
MOST_CORES = 16  # That have room of their own where no budget is given.
MAX_PLANES = 1 << 12  # Values of a store that computes in waves.


def room(budget: int, num_days: int, num_stocks: int) -> int:
  """Values of so many days and stocks that a budget of bytes holds.

  Raises:
    ValueError: fewer than any formula needs.
  """
  plane = 4 * num_days * num_stocks
  count = budget // plane
  if count < MIN_VALUES:
    raise ValueError(
      f'a store of {budget} bytes holds {count} values of {num_days} days x '
      f'{num_stocks} stocks ({plane} bytes each); give it '
      f'{plane * MIN_VALUES} bytes or more'
    )
  return count
