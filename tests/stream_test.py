"""A pool day by day is the pool on the whole panel."""

import re
import types
from pathlib import Path

import jax
import numpy as np
import oracle
import pytest

import alphajax
from alphajax.analysis import exporting
from alphajax.data import panel as panel_lib
from alphajax.data.features import EXTRA_FEATURES
from alphajax.factor import evaluate, pool_signal, stream
from alphajax.factor.stream import Stream
from alphajax.language import formula as formula_lib
from alphajax.language import library, vocab

T, S = 290, 24
OPERANDS = {
  'value': ('close/open', 'volume/Ref(volume,1)', 'high-low'),
  'condition': ('Gt(close,open)', 'Lt(volume,Ref(volume,1))'),
  'level': ('0.3',),
  'group': ('industry',),
}
SHIPPED = {'1', '5', '20'}  # Windows of the shipped formulas that are followed.
SUMMED = {'Scale', 'GroupNeutral'}
# Sums over stocks are added in another order than on a panel of other width.
CLOSE = dict(rtol=1e-5, atol=1e-6)


def panel_of(days=T):
  """Messy prices with groups, a day without any value, and few members."""
  features, members = oracle.messy_panel(5, T, S)
  features['market_cap'] = features['close'] * np.arange(1, S + 1)
  for i, name in enumerate(EXTRA_FEATURES[:3]):
    features[name] = np.tile(np.arange(S) % (3 + i), (T, 1)).astype(float)
  for plane in features.values():
    plane[T - 20] = np.nan
  rng = np.random.default_rng(0)
  members = members & (rng.random(members.shape) < 0.8)
  dates = np.datetime64('2020-01-01') + np.arange(T) * np.timedelta64(1, 'D')
  panel = panel_lib.make(
    np.stack(list(features.values())),
    members,
    tuple(map(str, dates)),
    tuple(f's{i}' for i in range(S)),
    feature_names=tuple(features),
  )
  return panel_lib.select_days(panel, slice(T - days, None))


def day_of(panel, t):
  planes = zip(panel.feature_names, panel.features[:, t], strict=True)
  return dict(planes) | {'members': panel.mask[t], 'date': panel.dates[t]}


def follow(started, panel, first):
  """The rows of the days from `first` on, stacked, and the stream after."""
  rows = []
  for t in range(first, len(panel.dates)):
    started, row = started.push(day_of(panel, t))
    rows.append(jax.tree.map(np.asarray, row))
  return jax.tree.map(lambda *x: np.stack(x), *rows), started


def of_every_operator(window=5):
  for row in vocab.OPERATORS.values():
    operands = {slot: iter(texts) for slot, texts in OPERANDS.items()}
    operands['window'] = iter([str(window)])
    slots = vocab.SLOTS[row.kind]
    yield f'{row.name}({",".join(next(operands[slot]) for slot in slots)})'


def parsed(texts, panel):
  return [formula_lib.parse(text, panel.feature_names) for text in texts]


def assert_same(streamed, whole, formulas):
  """Bit for bit; where sums over stocks are taken, within float32."""
  for formula, a, b in zip(
    formulas, streamed.swapaxes(0, 1), whole, strict=True
  ):
    symbols = {node.symbol for node in formula_lib.nodes(formula)}
    if symbols & SUMMED:
      np.testing.assert_allclose(a, b, err_msg=str(formula), **CLOSE)
    else:
      np.testing.assert_array_equal(a, b, err_msg=str(formula))


def test_every_operator():
  panel = panel_of(60)
  texts = list(of_every_operator())
  assert set(vocab.OPERATORS) == {text.partition('(')[0] for text in texts}
  formulas = parsed(texts, panel)
  whole = np.asarray(evaluate.values(formulas, panel))
  before = panel_lib.select_days(panel, slice(0, 30))
  rows, _ = follow(Stream.start(formulas, before), panel, 30)
  assert_same(rows.values, whole[:, 30:], formulas)
  for text, values in zip(texts, rows.values.swapaxes(0, 1), strict=True):
    assert np.isfinite(values).mean() > 0.1, text
  first = rows.values[10, 0]  # Of Abs(close/open), on the day without values.
  assert np.isnan(first).all() and np.isfinite(rows.values[11, 0]).any()


def windows_of(formula):
  """The windows in a formula, as they are written."""
  return {
    node.args[-1].symbol
    for node in formula_lib.nodes(formula)
    if formula_lib.is_windowed(node)
  }


def test_shipped_formulas():
  """Some; `scripts/export_agreement.py` takes all, on real panels.

  Those of few windows: two programs are compiled for each of an operator.
  """
  panel = panel_of(60)
  formulas = [
    formula
    for name in library.LIBRARIES
    for entry in library.entries(name)
    if entry.kind != 'absent'
    and formula_lib.lookback(formula := library.parse(entry)) <= 24
    and windows_of(formula) <= SHIPPED
  ][::4]
  assert len(formulas) > 15
  whole = np.asarray(evaluate.values(formulas, panel))
  before = panel_lib.select_days(panel, slice(0, 30))
  rows, _ = follow(Stream.start(formulas, before), panel, 30)
  assert_same(rows.values, whole[:, 30:], formulas)


TEXTS = ('Mean(close,7)/close', 'Corr(close,volume,7)', '-CSRank(high-low)')
WEIGHTS = (0.03, -0.01, 0.02)


def pool_and_panel():
  panel = panel_of(60)
  formulas = tuple(parsed(TEXTS, panel))
  return types.SimpleNamespace(formulas=formulas, weights=WEIGHTS), panel


def test_the_signal_is_that_of_the_pool_from_a_short_history_on():
  pool, panel = pool_and_panel()
  values = evaluate.values(pool.formulas, panel)
  whole = np.array(
    pool_signal.signal(
      np.float32(WEIGHTS), values, panel.mask, pool_signal.HEARD
    )
  )
  whole[:6] = np.nan  # The look-back of Mean and Corr is not full.
  before = panel_lib.select_days(panel, slice(0, 2))
  rows, last = follow(Stream.start(pool, before), panel, 2)
  np.testing.assert_allclose(rows.signal, whole[2:], **CLOSE)
  assert int(last.days) == 60
  total = rows.contributions.sum(1)
  spoken = np.isfinite(rows.signal)
  np.testing.assert_allclose(total[spoken], rows.signal[spoken], **CLOSE)


def test_only_the_look_back_is_kept_and_a_stream_is_a_value():
  pool, panel = pool_and_panel()
  first = Stream.start(pool, panel_lib.select_days(panel, slice(0, 40)))
  kept = sum(x.size for x in jax.tree.leaves(first.past))
  assert kept == 3 * 6 * S  # Mean of one series and Corr of two, 7 days each.
  second, row = first.push(day_of(panel, 40))
  _, again = first.push(day_of(panel, 40))
  np.testing.assert_array_equal(row.signal, again.signal)
  assert int(first.days) == 6 and int(second.days) == 7


def test_nothing_compiles_as_days_come():
  pool, panel = pool_and_panel()
  started = Stream.start(pool, panel_lib.select_days(panel, slice(0, 10)))
  started, _ = started.push(day_of(panel, 10))
  programs = stream._operate._cache_size(), stream._row._cache_size()
  follow(started, panel, 11)
  assert programs == (stream._operate._cache_size(), stream._row._cache_size())


@pytest.mark.compiled_fully
def test_one_program_of_all_gives_the_same():
  pool, panel = pool_and_panel()
  started = Stream.start(pool, panel_lib.select_days(panel, slice(0, 30)))
  day = day_of(panel, 30)
  del day['date']
  _, row = started.push(day)
  _, jitted = jax.jit(Stream.push)(started, day)
  np.testing.assert_array_equal(jitted.values, row.values)
  np.testing.assert_allclose(jitted.signal, row.signal, **CLOSE)


def test_a_stock_that_is_listed_later():
  pool, panel = pool_and_panel()
  old = panel_lib.take_symbols(panel, panel.symbols[:-1])
  before = panel_lib.select_days(old, slice(0, 40))
  listed = panel.replace(features=panel.features.copy(), mask=panel.mask.copy())
  listed.features[:, :40, -1] = np.nan
  listed.mask[:40, -1] = False
  whole = np.asarray(evaluate.values(pool.formulas, listed))
  started = Stream.start(pool, before, room=2)
  for t in range(40, 60):
    started, day = started.place(panel.symbols, day_of(listed, t))
    started, row = started.push(day)
    np.testing.assert_array_equal(row.values[:, :S], whole[:, t])
    assert np.isnan(row.signal[S:]).all()
  assert started.symbols[: S + 1] == (*panel.symbols, '<pad 1>')
  assert np.isfinite(row.values[0, S - 1])
  with pytest.raises(ValueError, match='3 new stocks .a, b, c. and room for 1'):
    started.place(['a', 'b', 'c'], {})


def test_a_day_without_some_stocks_has_them_missing():
  pool, panel = pool_and_panel()
  started = Stream.start(pool, panel_lib.select_days(panel, slice(0, 35)))
  day = {name: x[3:] for name, x in day_of(panel, 35).items() if name != 'date'}
  started, placed = started.place(panel.symbols[3:], day)
  _, row = started.push(placed)
  assert np.isnan(row.values[:, :3]).all() and np.isnan(row.signal[:3]).all()
  assert np.isfinite(row.signal).any()


def test_errors_say_what_was_expected():
  pool, panel = pool_and_panel()
  before = panel_lib.select_days(panel, slice(0, 35))
  started = Stream.start(pool, before)
  day = day_of(panel, 35)
  with pytest.raises(ValueError, match="no 'volume'; the stream reads close"):
    started.push({k: v for k, v in day.items() if k != 'volume'})
  with pytest.raises(ValueError, match=r'close of the day .*expected \(24,\)'):
    started.push(day | {'close': day['close'][1:]})
  with pytest.raises(ValueError, match='is not after the last one'):
    started.push(day | {'date': before.dates[-1]})
  with pytest.raises(ValueError, match='no formulas'):
    Stream.start([], before)
  with pytest.raises(ValueError, match='2 weights for 1 formulas'):
    Stream.start(['close'], before, weights=[1, 2])
  with pytest.raises(ValueError, match="needs 'turnover'"):
    Stream.start([formula_lib.Formula('turnover')], before)
  assert alphajax.Stream is Stream


def test_the_example_of_the_readme_runs(capsys):
  room = Path(exporting.__file__).parent
  text = (room / 'README.md').read_text(encoding='utf-8')
  (code,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
  scope = {}
  exec(compile(code, 'README.md', 'exec'), scope)
  market, row = scope['market'], scope['row']
  formulas = parsed(('Mean(close,20)/close', 'CSRank(volume)'), market)
  values = evaluate.values(formulas, market)[:, -1]
  np.testing.assert_array_equal(row.values[:, :-2], values)
  assert capsys.readouterr().out.startswith('S0')
