r"""Formulas as mathematics in LaTeX, with the definitions of what occurs."""

from collections.abc import Mapping
from typing import NamedTuple

from alphajax.language import formula as formula_lib
from alphajax.language import vocab
from alphajax.language.formula import Formula

SUM, PRODUCT, ATOM = 1, 2, 3  # How strongly what is written binds.


class Row(NamedTuple):
  """How an operator is written.

  text: #1, #2, #3 are the operands, the last one of a windowed operator its
    window.
  definition: of the value on day t; empty where the text says it.
  binds: how strongly the result binds.
  least: how strongly operands must bind to need no parentheses; 0: anything.
  """

  text: str
  definition: str = ''
  binds: int = ATOM
  least: tuple[int, ...] = (0, 0, 0)


def _rolling(name: str, definition: str) -> Row:
  return Row(rf'\operatorname{{{name}}}_{{#2}}\left(#1\right)', definition)


def _paired(name: str, definition: str) -> Row:
  return Row(rf'\operatorname{{{name}}}_{{#3}}\left(#1, #2\right)', definition)


def _bracket(sign: str) -> Row:
  return Row(
    rf'\left[#1 {sign} #2\right]', r'[\cdot] = 1 \text{ if it holds, else } 0'
  )


_OVER = r'\sum_{i=0}^{n-1}'
_MOMENT = r'm_k = \tfrac1n' + _OVER + r'\left(x_{t-i} - \bar x\right)^k'
_LINE = r'\text{ of the line fitted to } x_{t-n+1}, \dots, x_t'
_AMONG = r'\text{ among the members of day } t'
ROWS = {
  'Abs': Row(r'\left|#1\right|'),
  'Sign': Row(r'\operatorname{sgn}\left(#1\right)'),
  'Log': Row(r'\ln\left(#1\right)', r'\text{missing for } x \le 0'),
  'CSRank': Row(
    r'\operatorname{CSRank}\left(#1\right)',
    r'\text{average rank} / \text{count, in } (0, 1]' + _AMONG,
  ),
  'Add': Row('#1 + #2', binds=SUM, least=(SUM, SUM)),
  'Sub': Row('#1 - #2', binds=SUM, least=(SUM, PRODUCT)),
  'Mul': Row(r'#1 \cdot #2', binds=PRODUCT, least=(PRODUCT, PRODUCT)),
  'Div': Row(r'\frac{#1}{#2}'),
  'Greater': Row(r'\max\left(#1, #2\right)'),
  'Less': Row(r'\min\left(#1, #2\right)'),
  'Pow': Row(r'{\left(#1\right)}^{#2}'),
  'SignedPower': Row(
    r'\operatorname{SPow}\left(#1, #2\right)',
    r'\operatorname{sgn}(x)\,\left|x\right|^{y}',
  ),
  'Ref': _rolling('Ref', r'x_{t-n}'),
  'Delta': Row(r'\Delta_{#2}\left(#1\right)', r'x_t - x_{t-n}'),
  'Mean': _rolling('Mean', r'\bar x = \tfrac1n' + _OVER + r' x_{t-i}'),
  'Sum': _rolling('Sum', _OVER + r' x_{t-i}'),
  'Max': _rolling('Max', r'\max_{0 \le i < n} x_{t-i}'),
  'Min': _rolling('Min', r'\min_{0 \le i < n} x_{t-i}'),
  'Std': _rolling('Std', r'\sqrt{\operatorname{Var}_n(x)}'),
  'Var': _rolling(
    'Var', r'\tfrac1{n-1}' + _OVER + r'\left(x_{t-i} - \bar x\right)^2'
  ),
  'Skew': _rolling('Skew', r'm_3 / m_2^{3/2},\ ' + _MOMENT),
  'Kurt': _rolling('Kurt', r'm_4 / m_2^2 - 3,\ ' + _MOMENT),
  'Med': _rolling('Med', r'\text{median of } x_{t-n+1}, \dots, x_t'),
  'Mad': _rolling(
    'Mad', r'\tfrac1n' + _OVER + r'\left|x_{t-i} - \bar x\right|'
  ),
  'Rank': _rolling(
    'Rank',
    r'\tfrac1n\left(\#\{x_{t-i} < x_t\} + \tfrac12\#\{x_{t-i} = x_t\} + '
    r'\tfrac12\right)',
  ),
  'WMA': _rolling(
    'WMA', _OVER + r'(n - i)\,x_{t-i} \,/\, ' + _OVER + r'(n - i)'
  ),
  'EMA': _rolling(
    'EMA',
    _OVER + r'a^i x_{t-i} \,/\, ' + _OVER + r'a^i,\ a = 1 - \tfrac2{n+1}',
  ),
  'Cov': _paired(
    'Cov',
    r'\tfrac1{n-1}'
    + _OVER
    + r'\left(x_{t-i} - \bar x\right)\left(y_{t-i} - \bar y\right)',
  ),
  'Corr': _paired(
    'Corr',
    r'\operatorname{Cov}_n(x, y) / '
    r'\left(\operatorname{Std}_n(x) \operatorname{Std}_n(y)\right)',
  ),
  'Scale': Row(
    r'\operatorname{Scale}\left(#1\right)',
    r'x / \textstyle\sum\left|x\right|' + _AMONG,
  ),
  'ArgMax': _rolling(
    'ArgMax', r'\text{day of the first maximum, } 1 \text{ the oldest}'
  ),
  'ArgMin': _rolling(
    'ArgMin', r'\text{day of the first minimum, } 1 \text{ the oldest}'
  ),
  'Slope': _rolling('Slope', r'\text{slope}' + _LINE),
  'Rsquare': _rolling('Rsquare', r'R^2' + _LINE),
  'Resi': _rolling('Resi', r'\text{today less the value}' + _LINE),
  'Product': _rolling('Product', r'\prod_{i=0}^{n-1} x_{t-i}'),
  'Gt': _bracket('>'),
  'Lt': _bracket('<'),
  'Ge': _bracket(r'\geq'),
  'Le': _bracket(r'\leq'),
  'Eq': _bracket('='),
  'Ne': _bracket(r'\neq'),
  'And': _bracket(r'\wedge'),
  'Or': _bracket(r'\vee'),
  'Not': Row(r'\left[\neg #1\right]', least=(ATOM,)),
  'If': Row(
    r'\begin{cases} #2 & \text{if } #1 \\ #3 & \text{else} \end{cases}'
  ),
  'Quantile': Row(
    r'\operatorname{Quantile}^{#2}_{#3}\left(#1\right)',
    r'\text{quantile } q \text{ of } x_{t-n+1}, \dots, x_t, \text{ linear}',
  ),
  'GroupRank': Row(
    r'\operatorname{Rank}_{#2}\left(#1\right)',
    r'\text{average rank} / \text{count within the group}' + _AMONG,
  ),
  'GroupNeutral': Row(
    r'\operatorname{Neutral}_{#2}\left(#1\right)',
    r'x \text{ less its mean within the group}' + _AMONG,
  ),
}
_DOCUMENT = r"""\documentclass{article}
\usepackage{amsmath}
\begin{document}
\section*{Factors}
%s
\section*{Definitions}
A window is of $n$ days, today $t$ included, and full, or the value is missing;
so it is where a day of it is, and where the result is not finite. Skewness,
kurtosis, correlation and $R^2$ of a constant are missing.
\begin{itemize}
%s
\end{itemize}
\end{document}
"""


def write(
  formulas: Mapping[str, Formula], weights: Mapping[str, float] | None = None
) -> str:
  """A document of the formulas, of what weighs them, and of definitions."""
  lines = [
    f'\\[ {_index(i)} = {to_latex(formula)} \\]'
    for i, formula in enumerate(formulas.values(), 1)
  ]
  if weights:
    terms = ' '.join(
      rf'{weights[name]:+.4f}\,z({_index(i)})'
      for i, name in enumerate(formulas, 1)
    )
    lines.append(
      'The signal, $z$ being standardised over the members of the day:\n'
      rf'\[ s = {terms} \]'
    )
  return _DOCUMENT % ('\n'.join(lines), '\n'.join(_definitions(formulas)))


def _index(i: int) -> str:
  return f'f_{{{i}}}'


def to_latex(formula: Formula) -> str:
  """The formula in math mode."""
  return _write(formula, 0)


def _write(formula: Formula, outer: int) -> str:
  if not formula.args:
    text = _leaf(formula.symbol)
    return rf'\left({text}\right)' if text[0] == '-' and outer else text
  row = ROWS[formula.symbol]
  text = row.text
  least = (*row.least, 0, 0, 0)
  parts = [_write(a, s) for a, s in zip(formula.args, least, strict=False)]
  for i, part in enumerate(parts, 1):  # No part holds a #.
    text = text.replace(f'#{i}', part)
  return rf'\left({text}\right)' if row.binds < outer else text


def _leaf(symbol: str) -> str:
  if formula_lib.is_number(Formula(symbol)):
    return symbol
  escaped = symbol.replace('_', r'\_')
  return rf'\mathrm{{{escaped}}}'


def _definitions(formulas: Mapping[str, Formula]) -> list[str]:
  """A line for each operator that occurs and is not plain by itself."""
  used = {
    n.symbol for f in formulas.values() for n in formula_lib.nodes(f) if n.args
  }
  lines = {}
  for symbol, row in ROWS.items():
    if symbol in used and row.definition:
      kind = vocab.OPERATORS[symbol].kind
      names = {'value': 'xyz', 'condition': 'cde', 'level': 'q', 'group': 'g'}
      pools = {slot: iter(letters) for slot, letters in names.items()}
      pools['window'] = iter('n')
      args = [next(pools[slot]) for slot in vocab.SLOTS[kind]]
      text = row.text
      for i, letter in enumerate(args, 1):
        text = text.replace(f'#{i}', letter)
      lines[f'\\item ${text}$: ${row.definition}$'] = None
  return list(lines)
