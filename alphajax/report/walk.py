"""Years walked forward, as text."""

from typing import Any

from alphajax.report import verdict


def table(summary: dict[str, Any]) -> str:
  """What `walk_forward.json` holds: by year, and of all days."""
  heads = ('year', 'IC', 'RankIC', 'ICIR', 'days', 'formulas', 'kept',
           'alike', 'seconds')  # fmt: skip
  rows = [heads, *(_cells(str(row['year']), row) for row in summary['folds'])]
  rows.append(_cells('all', summary['all']))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    '  '.join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip()
    for row in rows
  ]
  whole = summary['all']
  errors = [f'{whole[name]["error"]:.4f}' for name in ('ic', 'rank_ic')]
  lines.append(
    'Brackets are 95 % intervals of the mean. Standard errors over all days: '
    f'IC {errors[0]}, RankIC {errors[1]}.'
  )
  lines += verdict.printed(summary)
  if 'share' in whole:
    lines.append(
      f'Planted IC {whole["ceiling"]:.4f}, of which {whole["share"]:.0%} '
      'were reached.'
    )
  again = [str(r['year']) for r in summary['folds'] if r.get('opened', 1) != 1]
  if again:
    lines.append(f'Opened more than once: {", ".join(again)}.')
  return '\n'.join(lines)


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
  def shown(key: str, form: str) -> str:
    return '-' if row.get(key) is None else format(row[key], form)

  return (
    name,
    *('{mean:.4f} [{low:.4f}, {high:.4f}]'.format(**row[key])
      for key in ('ic', 'rank_ic')),
    shown('icir', '.2f'),
    shown('days', ','),
    shown('formulas', 'd'),
    shown('kept', 'd'),
    shown('like_before', '.2f'),
    shown('seconds', '.0f'),
  )  # fmt: skip


def difference(found: dict[str, Any], other: str) -> str:
  """What `walks.compare` found, in words."""
  form = '{} {mean:+.4f} [{low:+.4f}, {high:+.4f}], standard error {error:.4f}'
  parts = [
    form.format(title, **found[name])
    for title, name in (('IC', 'ic'), ('RankIC', 'rank_ic'))
  ]
  if found.get('alike') is not None:
    parts.append(f'the signals correlate {found["alike"]:+.2f}')
  return f'Less {other}, on {found["days"]:,} days: ' + '; '.join(parts) + '.'
