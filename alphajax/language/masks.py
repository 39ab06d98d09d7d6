"""Refinement: formulas with parts left open, and the grammar that fills them.

A mask is formula text in which `_` stands for an operand or a window,
`Mean(_,6)-_`, or for an operator, `_(close,20)`. Laid over a formula it gives a
*form*: a partial formula whose open parts are nonterminals. The grammar of a
form has one production for its start symbol, the form itself, so `init` and
`step` fill it as they write any formula.
"""

from collections.abc import Iterator
from typing import NamedTuple

from alphajax.language import bounds
from alphajax.language import formula as formula_lib
from alphajax.language import grammar as grammar_lib
from alphajax.language import rows as rows_lib
from alphajax.language import vocab as vocab_lib
from alphajax.language.formula import HOLE, Formula

START = '<form>'
# An operand of a binary operator: an expression or, once, a constant.
OPERAND = 'Operand'
_OF_KIND = {kind: name for name, kind in vocab_lib.MASKED.items()}
_OF_KIND['binary'] = _OF_KIND['binary_asym']
_OPEN = {OPERAND, *vocab_lib.NONTERMINALS, *vocab_lib.WRITERS.values()}


class MaskError(ValueError):
  """A mask that does not fit the formula; the message says where."""


class Edit(NamedTuple):
  """One open part and what filled it.

  position: of the node in the original, in prefix order, from 1.
  part: `operator`, `operand` or `window`.
  """

  position: int
  part: str
  before: str
  after: str


def numbers_last(formula: Formula) -> Formula:
  """Moves a number behind the other operand where they commute.

  `-Corr(open,volume,10)` is `Mul(-1,Corr(...))`; what the user wrote first is
  the correlation.
  """
  args = tuple(map(numbers_last, formula.args))
  if formula_lib.kind(formula) == 'binary':
    args = tuple(sorted(args, key=formula_lib.is_number))
  return Formula(formula.symbol, args)


def right_half(formula: Formula) -> Formula:
  """The paper's mask: all but the first half of the symbols, in prefix order.

  "Preserving the left-side structure within half of the original expression
  length" (section 5): of n symbols the first n // 2 stay. An operand all of
  whose symbols are in the right half is one open part.
  """
  keep = formula_lib.size(formula) // 2

  def cut(node: Formula, at: int) -> Formula:
    if at >= keep:
      return Formula(HOLE)
    args, place = [], at + 1
    for arg in node.args:
      args.append(cut(arg, place))
      place += formula_lib.size(arg)
    return Formula(node.symbol, tuple(args))

  return cut(formula, 0)


def lay_over(mask: Formula, formula: Formula, start: str = 'Expr') -> Formula:
  """The form: the formula with the mask's holes as nonterminals.

  Raises:
    MaskError: nothing to fill, or the mask differs from the formula elsewhere.
  """
  if all(node.symbol != HOLE for node in formula_lib.nodes(mask)):
    raise MaskError(
      f'the mask {mask} has nothing to fill: write _ for an operand, a window '
      'or an operator, as in Mean(_,6)-_ or _(close,20)'
    )
  whole = (mask, formula)

  def open_up(mask: Formula, node: Formula, at: int, slot: str) -> Formula:
    if mask == Formula(HOLE):
      return Formula(slot)
    if len(mask.args) != len(node.args) or not (
      mask.symbol == node.symbol or (mask.symbol == HOLE and node.args)
    ):
      raise MaskError(
        f'the mask {whole[0]} does not match {whole[1]}: it has '
        f'{_head(mask)} where the formula has {_head(node)}, symbol {at + 1} '
        'in prefix order'
      )
    args, place = [], at + 1
    for arg, below, slot in zip(
      mask.args, node.args, _slots(mask, node, start), strict=True
    ):
      args.append(open_up(arg, below, place, slot))
      place += formula_lib.size(below)
    symbol = node.symbol
    if mask.symbol == HOLE:
      kind = formula_lib.kind(node)
      if kind not in _OF_KIND:
        raise MaskError(
          f'{symbol} of {whole[1]} cannot be left open: no other operator '
          f'takes what it takes; mask an operand of it, or all of {node}'
        )
      symbol = _OF_KIND[kind]
    return Formula(symbol, tuple(args))

  return open_up(mask, formula, 0, start)


def _head(node: Formula) -> str:
  """A node in a message: `Mean of 2 operands` or `close`."""
  if not node.args:
    return node.symbol
  return f'{node.symbol} of {len(node.args)} arguments'


def _slots(mask: Formula, node: Formula, start: str) -> list[str]:
  """The nonterminal that each operand of a node becomes where it is open."""
  if not node.args:
    return []
  kind = formula_lib.kind(node)
  assert kind is not None  # What has arguments is an operator.
  writers = vocab_lib.WRITERS | {'value': start}
  slots = [writers[slot] for slot in vocab_lib.SLOTS[kind]]
  if vocab_lib.SLOTS[kind] == ('value', 'value'):
    # Two constants have no cross-section; of two open operands the second may
    # be one, as in alpha-Sem.
    left, right = mask.args
    if not formula_lib.is_number(left):
      slots[1] = OPERAND
    if not formula_lib.is_number(right) and right.symbol != HOLE:
      slots[0] = OPERAND
  return slots


def length(formula: Formula) -> int:
  """Length k by the increments of Table 7; open parts count 0.

  Leaf 0, unary 1, binary and rolling 2, paired 3, in general a node a child;
  `Log(Abs(.))` is one.
  """
  logs = sum(
    node.symbol == 'Log' and node.args[0].symbol == 'Abs'
    for node in formula_lib.nodes(formula)
  )
  return formula_lib.size(formula) - 1 - logs


def make_grammar(
  grammar: grammar_lib.Grammar, form: Formula, bound: int
) -> grammar_lib.Grammar:
  """The grammar that writes exactly the fillings of a form.

  Symbols of the form that the grammar does not have, a window of 6, are added
  to the vocabulary, and no production writes them.

  Args:
    grammar: of the language that fills the open parts.
    form: from `lay_over`.
    bound: largest `length` of the finished formula.

  Raises:
    ValueError: the grammar cannot fill a part, or nothing fits the bound.
  """
  rows = [*grammar.rules, *_more_rows(grammar, form)]
  rows.append((START, ' '.join(n.symbol for n in formula_lib.nodes(form)), 0))
  vocab = _extend(grammar.vocab, form)
  written = {lhs for lhs, _, _ in rows}
  for node in formula_lib.nodes(form):
    symbol = node.symbol
    if symbol in _OPEN and symbol not in written:
      raise ValueError(
        f'{symbol} in {form} is to be filled and the grammar has no rule for '
        'it; see config.language'
      )
  wide = rows_lib.extend_vocab(vocab, rows)
  need = bounds.needs(rows_lib.read_rows(rows, wide), wide)
  kept = length(form)
  least = kept + need[wide.ids()['nonterminal', START]]
  if bound < least:
    raise ValueError(
      f'nothing fits a length of {bound}: {form} has length {least} when '
      'filled with as little as there is; raise config.refine.max_length or '
      'extra_length, or mask more'
    )
  # The bound counts from the form: what it keeps cannot change.
  return grammar_lib.from_rows(rows, vocab, max_length=bound - kept,
                               start=START)  # fmt: skip


def _more_rows(
  grammar: grammar_lib.Grammar, form: Formula
) -> Iterator[rows_lib.Row]:
  """Productions of the open parts that only a form has."""
  written = {lhs for lhs, _, _ in grammar.rules}
  found = {node.symbol for node in formula_lib.nodes(form)} - written
  if OPERAND in found:
    yield OPERAND, grammar.vocab.symbols[grammar.start].name, 0
    if 'Constant' in written:
      yield OPERAND, 'Constant', 0
  kinds = {s.name: s.kind for s in grammar.vocab.symbols}
  new = {}
  for _, text, _ in grammar.rules:
    head, *rest = text.split()
    # An operator over nonterminals alone may stand over any operands; Log does
    # not, where the grammar writes it as Log Abs Expr.
    if rest and all(kinds.get(name, 'nonterminal') == 'nonterminal'
                    for name in rest):  # fmt: skip
      nonterminal = _OF_KIND.get(kinds[head])
      if nonterminal in found:
        new[nonterminal, head, 0] = None
  yield from new


def _extend(vocab: vocab_lib.Vocab, form: Formula) -> vocab_lib.Vocab:
  """Adds the symbols of a form that a vocabulary lacks."""
  known = dict.fromkeys(vocab.symbols)
  nonterminals = {s.name for s in vocab.symbols if s.kind == 'nonterminal'}

  def add(node: Formula, is_window: bool) -> None:
    name = node.symbol
    if name in vocab_lib.OPERATORS:
      known[vocab_lib.OPERATORS[name]] = None
    elif name in nonterminals or name in _OPEN:
      pass  # `from_rows` adds those that it lacks.
    elif not formula_lib.is_number(node):
      known[vocab_lib.Symbol(name, 'feature')] = None
    else:
      kind = 'window' if is_window else 'constant'
      known[vocab_lib.Symbol(name, kind)] = None
    last = len(node.args) - 1 if formula_lib.is_windowed(node) else None
    for i, arg in enumerate(node.args):
      add(arg, i == last)

  add(form, False)
  return vocab_lib.Vocab(tuple(known))


def edits(form: Formula, original: Formula, filled: Formula) -> list[Edit]:
  """What filled each open part of a form, where it is not what was there."""
  found = []

  def compare(form: Formula, old: Formula, new: Formula, at: int) -> None:
    if not form.args and form.symbol != old.symbol:
      if old != new:
        part = 'window' if form.symbol == 'Num' else 'operand'
        found.append(Edit(at + 1, part, str(old), str(new)))
      return
    if form.symbol in vocab_lib.MASKED and old.symbol != new.symbol:
      found.append(Edit(at + 1, 'operator', old.symbol, new.symbol))
    place = at + 1
    for below in zip(form.args, old.args, new.args, strict=True):
      compare(*below, place)
      place += formula_lib.size(below[1])

  compare(form, original, filled, 0)
  return found
