"""The table of the benchmark. Figures in, text out."""

from scripts.benchmark import (
  alphaformer_report,
  emission_report,
  goals,
  peers_report,
)

GIB = 1 << 30


def table(found: dict) -> str:
  """Everything as Markdown."""
  parts = found['parts']
  result = {name: record['result'] for name, record in parts.items()}
  text = [_head(found)]
  if found['goals']:
    text.append(_goals(found['goals']))
  for name, write in SECTIONS.items():
    if name in result:
      text.append(write(result[name]))
  text.append(_processes(parts))
  return '\n\n'.join(text) + '\n'


def _rows(head: str, rows) -> str:
  """A Markdown table; the first column is text, the rest are numbers."""
  names = head.split(' | ')
  lines = [names, ['---', *['---:'] * (len(names) - 1)], *rows]
  return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def _head(found) -> str:
  machine = found['machine']
  devices = {
    f'{r["backend"]} ({r["device"]}), jax {r["jax"]}'
    for r in found['parts'].values()
    if 'backend' in r
  }
  lines = [
    f'{machine["processor"]}, {machine["cores"]} cores; {"; ".join(devices)}',
    f'Load average {machine["load_before"]:.1f} before, '
    f'{machine["load_after"]:.1f} after. Times are medians where nothing else '
    'is said.',
  ]
  others = machine['others_share']
  if others is not None:
    lines.append(f'Other processes took {100 * others:.0f} % of the cores.')
  if found['quick']:
    lines.append('QUICK: tiny sizes, nothing is measured.')
  return '# Benchmark\n\n' + '\n'.join(lines)


def _goals(rows) -> str:
  return _rows(
    'goal | measured | wanted | met',
    (
      [
        row['what'],
        f'{row["value"]:,.4g} {row["unit"]}',
        f'{">=" if row["more"] else "<="} {row["goal"]:,} {row["unit"]}',
        'yes' if row['met'] else 'NO',
      ]
      for row in rows
    ),
  )


def _operators(result) -> str:
  copies = [
    f'{r["bytes_per_s"] / 1e9:.1f} GB/s on {r["shape"]}' for r in result['copy']
  ]
  rate = result['copy'][-1]['bytes_per_s']
  rows = []
  for row in result['operators']:
    node, alone = row['node'], row['alone']
    speed = row['bytes'] / node['best']
    limit = goals.limit_of(row['operator'])
    met = 'yes' if 1e3 * node['median'] <= limit else 'NO'
    rows.append(
      [
        row['operator'],
        row['window'] or '',
        *(f'{1e3 * t:.2f}' for t in (node['best'], node['median'])),
        *(f'{1e3 * t:.2f}' for t in (alone['best'], alone['median'])),
        f'{speed / 1e9:.2f}',
        f'{100 * speed / rate:.1f} %',
        f'{limit:.0f}' if goals.has_goal(row) else '',
        met if goals.has_goal(row) else '',
      ]
    )
  head = (
    'operator | window | node, best ms | median | alone, best ms | median | '
    'GB/s | of copy | goal ms | met'
  )
  return (
    '## Operators\n\nA node of a round of 16 in the store, and alone as a '
    'jitted call with a fresh result. GB/s: operands and result over the best '
    f'time of a node. Copy (x + 1): {", ".join(copies)}; shares are of the '
    f'last.\n\n{_rows(head, rows)}'
  )


def _formulas(result) -> str:
  ours, peer = result['alphajax'], result['peer']
  text = (
    f'## Formulas\n\n{ours["formulas"]} distinct random alpha-Sem-k formulas '
    f'(K = 10, {ours["nodes"]} distinct nodes), IC of each, empty store, '
    f'compiled programs: {ours["formulas_per_s"]:.0f} a second '
    f'({ours["seconds"]["median"]:.2f} s, best '
    f'{ours["seconds"]["best"]:.2f} s; '
    f'warm-up {ours["warm_up_seconds"]:.1f} s).'
  )
  if 'waves' in ours:
    text += _waves(ours['waves'], ours['many'])
  profile = _profile(ours['profile'], ours['seconds']['median'])
  if not peer:
    return f'{text} Peer skipped: PyTorch is not installed.\n\n{profile}'
  rate = peer['formulas_per_s']
  return (
    f'{text} Peer, PyTorch {peer["version"]} on {peer["device"]} with '
    f'{peer["threads"]} threads, on {peer["formulas"]} of them: '
    f'{rate["median"]:.2f} a second, best {rate["best"]:.2f} (+- '
    f'{100 * peer["relative_error"]:.0f} % from the choice of formulas). '
    f'Ratio of the best {result["ratio"]:.1f}. Mean IC within 1e-3 of the '
    f'peer on {peer["same_ic"]}.\n\n{profile}'
  )


def _waves(waves, many) -> str:
  """A sentence of what an accelerator does."""
  return (
    f' {many["formulas"]} at once: {many["formulas_per_s"]:.0f} a second. The '
    f'host alone {waves["host_seconds"]:.3f} s; {waves["calls"]} calls of '
    f'{waves["lanes"]} lanes, one after the other: nodes '
    f'{waves["node_seconds"]:.3f} s, ICs {waves["ic_seconds"]:.3f} s.'
  )


def _profile(rows, wall) -> str:
  total = sum(row['seconds'] for row in rows)
  lines = [
    [
      row['name'],
      row['count'],
      f'{row["seconds"]:.3f}',
      f'{1e3 * row["seconds"] / row["count"]:.2f}',
      f'{100 * row["seconds"] / total:.1f} %',
    ]
    for row in rows
  ]
  head = 'what | how many | s | ms each | share'
  return (
    f'One after the other they take {total:.2f} s, together they took '
    f'{wall:.2f} s.\n\n{_rows(head, lines)}'
  )


def _search(result) -> str:
  peak = max(row['operations_per_s'] for row in result['matmul'])
  rates = ', '.join(
    f'{row["shape"]}: {row["operations_per_s"] / 1e9:.0f}'
    for row in result['matmul']
  )
  return (
    '## Search\n\nA simulation counts when its game was not finished before '
    'the move. Necessary operations: one product of the changed path per '
    f'ancestor, and both heads. Matrix products, Gop/s: {rates}; the share is '
    f'of the best.\n\n{_search_rows(result["search"], peak)}'
  )


def _search_rows(rows, peak=None) -> str:
  head = 'games | simulations | moves | per s, best | median | first call s'
  head += ' | of matmul' if peak else ''
  lines = []
  for row in rows:
    rate = row['simulations_per_s']
    lines.append(
      [
        row['games'],
        row['simulations'],
        row['moves'],
        *(f'{rate[k]:,.0f}' for k in ('best', 'median')),
        f'{row["first_seconds"]:.1f}',
        *([f'{100 * row["operations_per_s"] / peak:.1f} %'] if peak else []),
      ]
    )
  return _rows(head, lines)


def _pool(result) -> str:
  best = result['candidates'] / result['seconds']['best']
  return (
    f'## Pool\n\n{result["candidates"]} candidates into a pool of '
    f'{result["capacity"]}: {result["insertions_per_s"]:.0f} insertions a '
    f'second (best {best:.0f}); preparing a factor takes '
    f'{1e3 * result["prepare_seconds_each"]:.2f} ms more.'
  )


def _iteration(result) -> str:
  names = list(next(iter(result.values()))['median_seconds'])
  rows = []
  for panel, row in result.items():
    days, stocks = row['days_stocks']
    seconds = row['median_seconds']
    compiling = sum(r['compile_seconds'] for r in row['iterations'])
    rows.append(
      [
        f'{panel}, {days} x {stocks}',
        *(f'{seconds[name]:.2f}' for name in names),
        f'{row["new_formulas"]:.0f}',
        f'{compiling:.1f}',
      ]
    )
  head = ' | '.join(['panel', *names, 'new formulas', 'compiling, all'])
  return (
    '## Iteration\n\nSeconds by part, medians from the third iteration on; '
    'compile time (or loading from the disk cache) of all iterations '
    f'apart.\n\n{_rows(head, rows)}'
  )


def _assess(result) -> str:
  rows = [
    [
      name,
      f'{result["seconds"][name]["best"]:.1f}',
      f'{result["processor"][name]["best"]:.1f}',
    ]
    for name in result['seconds']
  ]
  days, stocks = result['days_stocks']
  head = f'{result["formulas"]} formulas, {days} x {stocks} | s | processor s'
  more = (
    f'Judged in {result["ratio"]:.2f} times the time of evaluation alone, '
    f'{result["processor_ratio"]:.2f} times its processor time.'
  )
  return f'## Assess\n\n{_rows(head, rows)}\n\n{more}'


def _methods(result) -> str:
  control = result['random search']['seconds_each']
  rows = [
    [
      name,
      row['formulas'],
      f'{1e3 * row["seconds_each"]:.1f}',
      f'{row["seconds_each"] / control:.2f}',
    ]
    for name, row in result.items()
  ]
  head = 'method | formulas | ms a formula evaluated | of random search'
  return f'## Methods\n\n{_rows(head, rows)}'


def _backtest(result) -> str:
  days, stocks = result['days_stocks']
  one, seconds = result['one'], result['seconds']
  return (
    f'## Backtest\n\n{result["signals"]:,} signals on {days} days of {stocks} '
    f'stocks, top 60, 5 exchanged: {seconds["median"]:.1f} s (best '
    f'{seconds["best"]:.1f} s); {result["core_seconds"]["median"]:.1f} s of '
    f'all cores together. One with its weights: {1e3 * one["seconds"]:.0f} ms, '
    f'the first {one["first"]:.1f} s.'
  )


def _startup(result) -> str:
  rows = [
    [
      name,
      *(
        f'{result[name][key]:.1f}'
        for key in ('first_iteration', 'compile_seconds', 'whole_process')
      ),
    ]
    for name in ('cold', 'warm')
  ]
  head = 'disk cache | first iteration after s | of it compiling | whole run'
  return f'## Start\n\n`{result["command"]}`\n\n{_rows(head, rows)}'


def _counts(result) -> str:
  rows = [
    [
      ' x '.join(str(row[k]) for k in ('days', 'stocks') if k in row),
      row['formulas'],
      row['nodes'],
      f'{row["seconds"]["median"]:.1f}',
      f'{row["formulas_per_s"]:.1f}',
    ]
    for row in (result if isinstance(result, list) else [result])
  ]
  return _rows('panel | formulas | nodes | s | formulas / s', rows)


def _processes(parts) -> str:
  rows = []
  for name, record in parts.items():
    if 'peak_bytes' not in record:
      continue
    device = record['device_peak_bytes']
    rows.append(
      [
        name,
        f'{record["seconds"]:.0f}',
        f'{record["compile_seconds"]:.0f}',
        f'{record["peak_bytes"] / GIB:.2f}',
        f'{device / GIB:.2f}' if device else '',
      ]
    )
  head = 'part | s | of it compiling | peak memory GiB | on the device GiB'
  return f'## Processes\n\n{_rows(head, rows)}'


SECTIONS = {
  'operators': _operators,
  'formulas': _formulas,
  'search': _search,
  'emission': lambda r: emission_report.section(r, _rows),
  'alphaformer': lambda r: alphaformer_report.section(r, _rows),
  'pool': _pool,
  'iteration': _iteration,
  'methods': _methods,
  'backtest': _backtest,
  'assess': _assess,
  'startup': _startup,
  'formula_scaling': lambda r: f'## Growth, formulas\n\n{_counts(r)}',
  'stock_scaling': lambda r: f'## Growth, stocks\n\n{_counts(r)}',
  'search_scaling': lambda r: f'## Growth, search\n\n{_search_rows(r)}',
  'large_panel': lambda r: f'## Large panel\n\n{_counts(r)}',
  'peers_part': lambda r: peers_report.section(r, _rows),
  'peer_stocks': lambda r: peers_report.section(r, _rows),
}
