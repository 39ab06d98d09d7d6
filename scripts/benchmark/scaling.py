"""How time grows with formulas, stocks, simulations and games."""

import numpy as np

from scripts.benchmark import formulas as formulas_lib
from scripts.benchmark import parts, tools

FORMULAS = (100, 1_000, 10_000)
STOCKS = (300, 1_200, 5_000)
SIMULATIONS = (16, 64, 256)
GAMES = (32, 128, 512)
LARGE_DAYS, LARGE_STOCKS = 4_000, 5_000
LARGE_BYTES = 4 << 30  # Of the store on large panels.


def formula_scaling(quick: bool) -> list[dict]:
  """Time by the number of formulas, S = 300, store of 1 GiB."""
  panel = tools.synthetic(*tools.sizes(quick))
  counts = (10, 20) if quick else FORMULAS
  warm_up = tools.random_formulas(1, min(1_000, counts[-1]), quick)
  rows = []
  for count in counts:
    formulas = tools.random_formulas(0, count, quick)
    rows.append(
      _bare(
        formulas_lib.evaluate_cold(
          panel, formulas, warm_up, 1, tools.store_bytes(quick)
        )
      )
    )
    warm_up = warm_up[:1]  # Compiled by now.
  return rows


def stock_scaling(quick: bool) -> list[dict]:
  """Time by the number of stocks, T = 2170; a large store where it needs it."""
  days, _ = tools.sizes(quick)
  formulas = tools.random_formulas(0, 4 if quick else 64, quick)
  rows = []
  for stocks in (24, 48) if quick else STOCKS:
    panel = tools.synthetic(days, stocks)
    budget = LARGE_BYTES if stocks > 2_000 else tools.store_bytes(quick)
    row = formulas_lib.evaluate_cold(panel, formulas, formulas, 1, budget)
    rows.append(_bare(row))
  return rows


def search_scaling(quick: bool) -> list[dict]:
  """Simulations a second by simulations a move and by games."""
  if quick:
    return [parts.self_play(4, 2, 1, quick), parts.self_play(8, 2, 1, quick)]
  pairs = [(128, simulations) for simulations in SIMULATIONS]
  pairs += [(games, 64) for games in GAMES if games != 128]
  return [
    parts.self_play(games, simulations, 2, quick)
    for games, simulations in pairs
  ]


def large_panel(quick: bool) -> dict:
  """5,000 stocks x 4,000 days: the time, and above all the peak memory."""
  days, stocks = (600, 100) if quick else (LARGE_DAYS, LARGE_STOCKS)
  panel = tools.synthetic(days, stocks)
  formulas = tools.random_formulas(0, 4 if quick else 32, quick)
  budget = tools.store_bytes(quick) if quick else LARGE_BYTES
  row = formulas_lib.evaluate_cold(panel, formulas, formulas[:1], 1, budget)
  finite = int(np.isfinite(row['ics']).sum())
  return {'finite': finite, **_bare(row)}


def _bare(row: dict) -> dict:
  return {key: value for key, value in row.items() if key != 'ics'}
