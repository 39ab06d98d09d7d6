"""The templates of the pages, and how they print numbers."""

import datetime
from pathlib import Path

import jinja2

from alphajax.report import plot

DASH = '\N{EN DASH}'  # What is not known.


def template(name: str) -> jinja2.Template:
  """A template of this folder; it fetches nothing from elsewhere."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters |= {
    'number': _number, 'clock': _clock, 'share': _share, 'whole': _whole,
  }  # fmt: skip
  return environment.get_template(name)


def now() -> str:
  """When the page is written."""
  return datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z')


def _number(value: float | None, digits: int = 4) -> str:
  """0.0612 with a real minus sign; what is not known is a dash."""
  return DASH if value is None else plot.number(value, digits)


def _share(value: float | None, digits: int = 1) -> str:
  """A share as 6.1 %."""
  return DASH if value is None else plot.percent(value, digits)


def _whole(value: int | None) -> str:
  return DASH if value is None else f'{value:,}'


def _clock(seconds: float) -> str:
  """Whole time as one reads it: 48 s, 3 min 20 s, 2 h 5 min."""
  minutes, rest = divmod(round(float(seconds)), 60)
  hours, minutes_left = divmod(minutes, 60)
  if hours:
    return f'{hours} h {minutes_left} min'
  return f'{minutes} min {rest} s' if minutes else f'{rest} s'
