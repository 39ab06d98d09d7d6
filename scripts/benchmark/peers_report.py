"""The table of what else evaluates formulas."""

HEAD = (
  'set | by | formulas | a second | compiling s | same IC | ours, times as many'
)


def section(result: dict | list[dict], rows) -> str:
  """Markdown of `peers_part` or `peer_stocks`; `rows` writes a table."""
  tables = result if isinstance(result, list) else [result]
  text = [
    f'{table["days"]:,} days x {table["stocks"]:,} stocks:\n\n'
    + rows(HEAD, [_line(row) for row in table['rows']])
    for table in tables
  ]
  head = '## Peers\n\nProcessor seconds of one core, values and daily ICs.'
  return '\n\n'.join([head, *text])


def _line(row: dict) -> list[str]:
  if row.get('missing'):
    return [row['set'], row['peer'], *['not installed', '', '', '', '']]
  compiling = row['compile_seconds']
  return [
    row['set'],
    row['peer'],
    f'{row["formulas"]} of {row["of"]}',
    f'{row["formulas_per_s"]:,.3g}',
    '' if compiling is None else f'{compiling:.0f}',
    str(row['same_ic']),
    '' if row['peer'] == 'alphajax' else f'{row["ratio"]:.2f}',
  ]
