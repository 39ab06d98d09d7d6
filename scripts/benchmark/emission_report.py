"""What the benchmark says of formulas written. Figures in, text out."""

from collections.abc import Callable


def section(result: dict, table: Callable[..., str]) -> str:
  """table: (head, rows) -> Markdown."""
  rows = [
    [
      order,
      f'{row["symbols"]:.1f}',
      *(f'{1e3 * row["seconds"][key]:.0f}' for key in ('best', 'median')),
      f'{1e3 * row["core_seconds"]["median"]:.0f}',
      f'{row["formulas_per_s"]:,.0f}',
    ]
    for order, row in result['orders'].items()
  ]
  head = 'order | symbols each | ms, best | median | core ms | formulas / s'
  return (
    f'## Emission\n\n{result["formulas"]} formulas of a formula Transformer of '
    f'{result["parameters"]:,} random parameters, masked, with top-p; a market '
    f'is read in {1e3 * result["encode"]["median"]:.1f} ms.'
    f'\n\n{table(head, rows)}'
  )
