"""Between what the numbers of a config lie, checked in one place.

What only one method reads is checked where that is made.
"""

from typing import Any, NamedTuple


class Range(NamedTuple):
  """What a number may be.

  above: greater than `least`, not equal.
  below: less than `most`, not equal.
  """

  least: float
  most: float = float('inf')
  above: bool = False
  below: bool = False

  def holds(self, value: Any) -> bool:
    """Whether a number is inside; NaN is not."""
    enough = value > self.least if self.above else value >= self.least
    return enough and (value < self.most if self.below else value <= self.most)

  def __str__(self) -> str:
    text = f'{">" if self.above else ">="} {self.least:g}'
    if self.most < float('inf'):
      text += f' and {"<" if self.below else "<="} {self.most:g}'
    return text


_COUNT, _AMOUNT = Range(1), Range(0)
_POSITIVE = Range(0, above=True)
RANGES = {
  **dict.fromkeys(
    (
      'num_seeds', 'num_iterations', 'num_trajectories',
      'label.exit', 'language.max_length',
      'pool.capacity', 'pool.every', 'pool.bags', 'pool.days',
      'refine.tune_starts',
      'screen.candidates', 'search.num_simulations', 'search.num_considered',
      'network.width', 'training.batch_size', 'training.replay_size',
    ),
    _COUNT,
  ),
  **dict.fromkeys(
    (
      'early_stop', 'max_evaluated', 'store_bytes', 'lookback', 'label.entry',
      'mesh.devices', 'mesh.stocks', 'screen.explore',
      'pool.l1', 'pool.penalty', 'pool.ridge', 'pool.keep',
      'refine.beta', 'refine.extra_length', 'refine.max_length',
      'refine.tune_steps', 'search.c_puct', 'training.num_updates',
      'training.l2', 'value.beta',
    ),
    _AMOUNT,
  ),
  **dict.fromkeys(
    (
      'search.base_branches', 'search.dirichlet_alpha',
      'training.learning_rate', 'value.scale',
    ),
    _POSITIVE,
  ),
  **dict.fromkeys(('screen.stocks', 'screen.days'), Range(2)),
  **dict.fromkeys(('screen.twin', 'search.dirichlet_fraction'), Range(0, 1)),
  'pool.max_corr': Range(0, 1, above=True),
  'network.dropout': Range(0, 1, below=True),
}  # fmt: skip


def check(config, section: str = '') -> None:
  """Refuses a number that cannot be; a key that a config lacks is no matter.

  section: `pool` for the keys of `config.pool` alone.

  Raises:
    ValueError: names the key and what is expected.
  """
  for key in RANGES:
    if not key.startswith(section):
      continue
    value = config
    for name in key.split('.'):
      value = value.get(name) if hasattr(value, 'get') else None
    if isinstance(value, int | float):
      check_number(key, value, f'config.{key}')
  if not section:
    _refuse_nan(config, 'config')


def check_number(key: str, value: float, name: str) -> None:
  """Refuses a number that a key of a config cannot have; `name` says whose."""
  if key in RANGES and not RANGES[key].holds(value):
    raise ValueError(f'{name} is {value}: expected {RANGES[key]}')


def _refuse_nan(value: Any, name: str) -> None:
  """Refuses what is no number, wherever in a config it is."""
  if hasattr(value, 'items'):
    for key, part in value.items():
      _refuse_nan(part, f'{name}.{key}')
  elif isinstance(value, tuple | list):
    for part in value:
      _refuse_nan(part, name)
  elif isinstance(value, float) and value != value:
    raise ValueError(f'{name} is nan: expected a number')
