"""What the benchmark says of AlphaFormer. Figures in, text out."""

from collections.abc import Callable


def section(result: dict, table: Callable[..., str]) -> str:
  """table: (head, rows) -> Markdown."""
  rows = [
    [
      name,
      f'{row["parameters"]:,}',
      f'{row["tasks"]:,}',
      f'{row["seconds"]["median"]:.1f}',
      f'{row["tasks_per_s"]:,.0f}',
    ]
    for name, row in result['tasks'].items()
  ]
  head = 'pre-training | parameters | tasks | s | tasks / s'
  found = result['first_pool']
  pool = 'No data: when a first pool is there was not measured (`--data`).'
  if found:
    pool = (
      f'`{found["command"]}` has a first pool {found["warm"]:.1f} s after its '
      f'start, {found["cold"]:.1f} s with an empty disk cache.'
    )
  return f'## AlphaFormer\n\n{table(head, rows)}\n\n{pool}'
