"""A part of many runs: what one of several machines, or tasks, is to do.

`--part=2/8` of a command that trains many runs takes the third of eight parts
of them. Parts share no run, so that they may run at the same time, each where
it likes, as long as all see the same --workdir; `scripts/slurm.sh` starts them.
The same command without --part does what is left, and writes the tables.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from absl import flags

Run = TypeVar('Run')


class Part(NamedTuple):
  """One of `total` parts, from 0."""

  number: int
  total: int

  def __str__(self) -> str:
    return f'{self.number}/{self.total}'


def read(text: str) -> Part | None:
  """`2/8`; None of an empty text.

  Raises:
    ValueError: another form, or a part that there is none of.
  """
  if not text:
    return None
  found = re.fullmatch(r'(\d+)/(\d+)', text)
  part = Part(*map(int, found.groups())) if found else Part(0, 0)
  if part.number >= part.total:
    raise ValueError(
      f'--part={text}: expected one of several, from 0: of two parts 0/2 and '
      '1/2'
    )
  return part


def of(part: Part | None, runs: Sequence[Run]) -> list[Run]:
  """The runs of a part, in their order; None: all.

  Neighbours, such as the methods of one seed, go to different parts.
  """
  return list(runs if part is None else runs[part.number :: part.total])


def done(part: Part, count: int) -> str:
  """What is said when a part of so many runs is done."""
  return (
    f'Part {part} is done, runs: {count}. When all parts are, the same command '
    'without --part writes the tables'
  )


def define_flag() -> None:
  """--part."""
  flags.DEFINE_string(
    'part', '', 'I/N: only the I-th of N parts of the runs, from 0, and no '
    'table; see scripts/slurm.sh.'
  )  # fmt: skip
