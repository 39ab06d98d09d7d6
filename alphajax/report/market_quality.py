"""Picture and table of how real synthetic markets look."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

TITLES = {
  'tail': '|return| in own deviations, by the share above',
  'acf_size': 'autocorrelation of |return|, by lag in days',
  'leverage': 'return with later squared return, by lag in days',
  'spectrum': 'eigenvalues of the correlations, shares',
}


def draw(curves: Mapping[str, Mapping[str, Any]]) -> bytes:
  """A PNG of several panels' curves, see `analysis.market_quality.curves`.

  Real days are drawn thick, those of train before those of validation;
  independent stocks are dashed.
  """
  figure = Figure(figsize=(11, 7.5), layout='constrained')
  axes = figure.subplots(2, 2)
  for ax, (name, title) in zip(axes.flat, TITLES.items(), strict=True):
    for i, (label, of_panel) in enumerate(curves.items()):
      values = np.array(of_panel[name], float)
      ax.plot(
        _positions(name, len(values)), values, label=label, color=f'C{i}',
        linewidth=2.4 if label in ('train', 'valid') else 1.2,
        linestyle='--' if label.endswith('_independent') else '-',
      )  # fmt: skip
    ax.set_title(title, fontsize=10)
    ax.grid(alpha=0.3)
    if name in ('tail', 'spectrum'):
      ax.set_xscale('log')
      ax.set_yscale('log')
  axes[0, 0].legend(fontsize=9)
  out = io.BytesIO()
  # No date and no version in it: the same figures are the same file.
  figure.savefig(out, format='png', dpi=110, metadata={'Software': None})
  return out.getvalue()


def _positions(name: str, count: int) -> np.ndarray:
  """Where the values of a curve lie: lags, numbers, or shares."""
  if name == 'tail':
    return np.geomspace(0.5, 1e-4, count)
  return 1 + np.arange(count) * (3 if name == 'acf_size' else 1)


def table(columns: Mapping[str, Mapping[str, float | None]]) -> str:
  """Figures of several panels beside each other, a line each."""
  rows = list(dict.fromkeys(row for one in columns.values() for row in one))
  wide = max(map(len, (*rows, 'figure')))
  widths = {name: max(len(name), 9) for name in columns}
  head = f'{"figure":{wide}}' + ''.join(
    f'  {n:>{w}}' for n, w in widths.items()
  )
  lines = [head]
  for row in rows:
    cells = (
      f'  {_cell(columns[name].get(row)):>{width}}'
      for name, width in widths.items()
    )
    lines.append(f'{row:{wide}}' + ''.join(cells))
  return '\n'.join(lines)


def _cell(value: float | None) -> str:
  return '-' if value is None else f'{value:.4g}'
