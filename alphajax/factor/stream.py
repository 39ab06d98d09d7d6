"""A pool day by day, with only the days in memory that its windows read."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from alphajax.data import panel as panel_lib
from alphajax.data.panel import Panel
from alphajax.factor import attribution, operators, plan, pool_signal
from alphajax.factor import compile as compile_lib
from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula

NOBODY = '<pad '  # How the name of a column without a stock begins.


class Row(NamedTuple):
  """One day. P factors, S columns.

  signal: NaN for non-members, where no factor has a value, and until the
    look-back is full.
  contributions: what each factor adds to it, 0 where it has no opinion.
  values: of the factors, NaN where missing.
  """

  signal: jax.Array  # f32[S]
  contributions: jax.Array  # f32[P, S]
  values: jax.Array  # f32[P, S]


class Stream(struct.PyTreeNode):
  """A pool and the days that the next one needs; a value, `push` makes another.

  past: of each node over a window, the days that it reads before today of each
    operand, f32[days, S]; of others nothing.
  weights: f32[P].
  days: i32[], those seen so far.
  date: i32[], the last of them, days since 1970; the least i32 where unknown.
  nodes: distinct subexpressions, inputs first.
  roots: the node of each factor.
  lookback: days before today that the value of today needs.
  symbols: of the columns.
  """

  past: tuple[tuple[jax.Array, ...], ...]
  weights: jax.Array
  days: jax.Array
  date: jax.Array
  nodes: tuple[plan.Node, ...] = struct.field(pytree_node=False)
  roots: tuple[int, ...] = struct.field(pytree_node=False)
  lookback: int = struct.field(pytree_node=False)
  symbols: tuple[str, ...] = struct.field(pytree_node=False)

  @classmethod
  def start(
    cls,
    pool: Any,
    history: Panel,
    weights: Sequence[float] | None = None,
    room: int = 0,
  ) -> 'Stream':
    """A stream that has seen a history; its next day is the one after.

    Of the history the last `lookback` days are read. With fewer, signals are
    NaN until there are as many.

    Args:
      pool: with `formulas` and `weights`, or formulas or their texts.
      history: no day, or any number.
      weights: of formulas; 1 each by default.
      room: columns for stocks that are listed later, see `place`.

    Raises:
      ValueError: no formula, another number of weights, or a formula that reads
        a feature which the history does not have.
    """
    if hasattr(pool, 'formulas'):
      pool, weights = pool.formulas, pool.weights
    formulas = _formulas(pool, history)
    weights = [1.0] * len(formulas) if weights is None else list(weights)
    if len(weights) != len(formulas):
      raise ValueError(f'{len(weights)} weights for {len(formulas)} formulas')
    lookback = max(map(formula_lib.lookback, formulas))
    history = _last(history, lookback, room)
    graph = plan.Graph()
    roots = tuple(map(graph.add, formulas))
    width = len(history.symbols)
    stream = cls(
      past=tuple(_nothing(node, width) for node in graph.nodes),
      weights=jnp.asarray(weights, jnp.float32),
      days=jnp.int32(0),
      date=jnp.int32(jnp.iinfo(jnp.int32).min),
      nodes=tuple(graph.nodes),
      roots=roots,
      lookback=lookback,
      symbols=history.symbols,
    )
    for t, date in enumerate(history.dates):
      day = dict(
        zip(history.feature_names, history.features[:, t], strict=True)
      )
      stream, _ = stream.push(day | {'members': history.mask[t], 'date': date})
    return stream

  def push(self, day: Mapping[str, Any]) -> tuple['Stream', Row]:
    """Takes the next day. One jitted program an operator, compiled once.

    A jit of the caller's makes one program of them all, without `date`.

    Args:
      day: f32[S] of each feature that the formulas read, NaN where missing;
        `members`, bool[S]; `date`, an ISO day, if its order is to be checked.

    Raises:
      ValueError: a feature is missing, an array has another length, or the day
        is not after the last one.
    """
    planes = self._planes(day)
    members = planes['members'] != 0
    rows: list[jax.Array] = []
    past = []
    for node, before in zip(self.nodes, self.past, strict=True):
      row, after = planes.get(node.symbol), before
      if node.symbol in vocab.OPERATORS:
        today = tuple(rows[i] for i in node.inputs)
        row, after = _operate(before, today, members, node.symbol, node.window)
      elif row is None:
        row = jnp.full(members.shape, float(node.symbol), jnp.float32)
      rows.append(row)
      past.append(after)
    row = _row(
      self.weights,
      tuple(rows[i] for i in self.roots),
      members,
      self.days >= self.lookback,
    )
    return self.replace(
      past=tuple(past),
      days=self.days + 1,
      date=self._date(day.get('date')),
    ), row

  def place(
    self, symbols: Sequence[str], day: Mapping[str, Any]
  ) -> tuple['Stream', dict[str, Any]]:
    """Lays out a day of any stocks in the columns of the stream.

    Stocks that are new take columns of the `room`; those that the day does not
    have are missing and no members.

    Returns:
      (the stream that knows the new stocks, the day as `push` takes it).

    Raises:
      ValueError: more new stocks than room.
    """
    stream = self._with_symbols(symbols)
    column = {symbol: i for i, symbol in enumerate(stream.symbols)}
    order = np.array([column[symbol] for symbol in symbols], int)
    placed = {}
    for name, values in day.items():
      if name != 'date':
        fill = False if name == 'members' else np.nan
        row = np.full(len(stream.symbols), fill)
        row[order] = np.asarray(values)
        values = row
      placed[name] = values
    return stream, placed

  def _with_symbols(self, symbols: Sequence[str]) -> 'Stream':
    known = list(self.symbols)
    new = [symbol for symbol in symbols if symbol not in set(known)]
    free = [i for i, name in enumerate(known) if name.startswith(NOBODY)]
    if len(new) > len(free):
      raise ValueError(
        f'{len(new)} new stocks ({", ".join(new[:5])}) and room for '
        f'{len(free)}: start the stream with room={len(new)} or more'
      )
    for i, symbol in zip(free, new, strict=False):
      known[i] = symbol
    return self.replace(symbols=tuple(known))

  def _planes(self, day: Mapping[str, Any]) -> dict[str, jax.Array]:
    """What a day has of what the stream reads, each f32[1, S]."""
    read = [
      node.symbol
      for node in self.nodes
      if node.symbol not in vocab.OPERATORS
      and not formula_lib.is_number(Formula(node.symbol))
    ]
    planes = {}
    for name in (*read, 'members'):
      if name not in day:
        raise ValueError(
          f'the day has no {name!r}; the stream reads {", ".join(read)} and '
          'members'
        )
      values = jnp.asarray(day[name], jnp.float32)
      if values.shape != (len(self.symbols),):
        raise ValueError(
          f'{name} of the day has shape {values.shape}, expected '
          f'({len(self.symbols)},), one of each stock in `symbols`; `place` '
          'lays out a day of other stocks'
        )
      planes[name] = operators.finite(values)[None]
    return planes

  def _date(self, date: str | None) -> jax.Array:
    if date is None:
      return self.date
    panel_lib.parse_day(date)
    day = np.datetime64(date, 'D')
    last = np.datetime64(int(self.date), 'D')
    if day <= last:
      raise ValueError(f'the day {date} is not after the last one, {last}')
    return jnp.int32(day.astype(int))


def _formulas(formulas, history: Panel) -> list[Formula]:
  features = history.feature_names
  found = [
    formula_lib.parse(each, features) if isinstance(each, str) else each
    for each in formulas
  ]
  if not found:
    raise ValueError('no formulas: a stream needs one at least')
  for formula in found:
    compile_lib.check_features(formula, features, history.coded)
  return found


def _last(history: Panel, days: int, room: int) -> Panel:
  """The last days of a panel, with `room` columns more."""
  first = max(len(history.dates) - days, 0)
  kept = panel_lib.select_days(history, slice(first, None))
  if not room:
    return kept
  return panel_lib.pad_stocks(kept, len(history.symbols) + room)


def _nothing(node: plan.Node, width: int) -> tuple[jax.Array, ...]:
  """The past of a node of which nothing is known."""
  if node.window is None:
    return ()
  days = node.window - (not vocab.OPERATORS[node.symbol].reaches_back)
  past = jnp.full((days, width), jnp.nan, jnp.float32)
  return (past,) * len(node.inputs)


@functools.partial(jax.jit, static_argnames=('symbol', 'window'))
def _operate(before, today, members, symbol, window):
  """An operator on one day: (f32[1, S], its past on the next day)."""
  operands = today
  if window is not None:
    operands = tuple(
      jnp.concatenate(pair) for pair in zip(before, today, strict=True)
    )
  # As in `compile.apply`: fused with what makes its operands, an operator would
  # round differently.
  operands = jax.lax.optimization_barrier(operands)
  row = operators.apply(symbol, list(operands), window, members)[-1:]
  return row, tuple(x[1:] for x in operands[: len(before)])


@jax.jit
def _row(weights, values, members, known):
  values = jnp.stack(values)
  signal = pool_signal.signal(weights, values, members, pool_signal.HEARD)
  parts = attribution.contributions(weights, values, members)
  return Row(
    jnp.where(known, signal, jnp.nan)[0],
    jnp.where(known, parts, jnp.nan)[:, 0],
    values[:, 0],
  )
