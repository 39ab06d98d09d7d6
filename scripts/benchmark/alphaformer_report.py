"""What the benchmark says of AlphaFormer. Figures in, text out."""

from collections.abc import Callable


def section(result: dict, table: Callable[..., str]) -> str:
  """table: (head, rows) -> Markdown."""
  rows = [
    [
      name,
      f'{row["parameters"]:,}',
      f'{row["tasks"]:,}',
      *(f'{row[key]["median"]:.1f}' for key in ('seconds', 'core_seconds')),
      f'{row["tasks_per_s"]:,.0f}',
    ]
    for name, row in result['tasks'].items()
  ]
  head = 'pre-training | parameters | tasks | s | core s | tasks / s'
  found = result['first_pool']
  pool = 'No data: when a first pool is there was not measured (`--data`).'
  if found:
    warm, cold = found['warm'], found['cold']
    pool = (
      f'`{found["command"]}` has a first pool {warm["seconds"]:.1f} s after '
      f'its start, {cold["seconds"]:.1f} s with an empty disk cache'
    )
    if warm['core_seconds']:
      pool += (
        f'; {warm["core_seconds"]:.1f} and {cold["core_seconds"]:.1f} s of all '
        'cores together'
      )
    pool += '.'
  return f'## AlphaFormer\n\n{table(head, rows)}\n\n{pool}'
