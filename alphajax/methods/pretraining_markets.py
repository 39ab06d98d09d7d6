"""The markets whose formulas a pre-training measures.

`config.pretrain.markets` takes the training split and the panels of
`config.pretrain.panels` (`real`), those panels alone, or of them one family of
`alphajax synthesize`. Labels are planted in all of them alike.
"""

from collections.abc import Iterator
from pathlib import Path

from alphajax.data import market as market_lib
from alphajax.data import panel as panel_lib
from alphajax.data.panel import LabelSpec, Split
from alphajax.language import environment
from alphajax.methods import market_families
from alphajax.methods.base import Market

REAL, PANELS = 'real', 'panels'
NAMES = (REAL, PANELS, *market_families.FAMILIES)


def name_of(config) -> str:
  """Which markets a config asks for; older ones have no such key.

  Raises:
    ValueError: there are none of this name.
  """
  name = config.pretrain.get('markets', REAL)
  if name not in NAMES:
    raise ValueError(
      f'config.pretrain.markets is {name!r}: expected one of {", ".join(NAMES)}'
    )
  return name


def splits(config, market: Market) -> list[Split]:
  """The first is what formulas are drawn on.

  Raises:
    ValueError: no panels where they are asked for; see `market.load` and
      `panel.split`.
  """
  name = name_of(config)
  paths = list(files(config.pretrain.panels))
  if name == REAL:
    return [market.train, *(_whole(config, path) for path in paths)]
  if name != PANELS:
    # alphajax synthesize calls them FAMILY_NUMBER.
    paths = [path for path in paths if path.stem.rpartition('_')[0] == name]
  if not paths:
    what = 'file' if name == PANELS else f'{name}_*.parquet'
    raise ValueError(
      f'config.pretrain.markets is {name!r}, and config.pretrain.panels = '
      f'{config.pretrain.panels!r} has no {what}: make panels by alphajax '
      'synthesize, and name its folder, --config.pretrain.panels=FOLDER'
    )
  return [_whole(config, path) for path in paths]


def files(text: str) -> Iterator[Path]:
  """Files, and all panels of folders, with commas."""
  for part in filter(None, map(str.strip, text.split(','))):
    place = Path(part).expanduser()
    if not place.is_dir():
      yield place
      continue
    inner = place / 'panels'
    yield from sorted((inner if inner.is_dir() else place).glob('*.parquet'))


def _whole(config, path: Path) -> Split:
  """A panel, all of its days as a split."""
  panel = market_lib.load(path)
  language = environment.make(**config.language)
  before = config.lookback or environment.lookback(language)
  return panel_lib.split(
    panel, str(path), panel.dates[0], panel.dates[-1],
    lookback=min(before, len(panel.dates) // 4),
    label=LabelSpec(**config.label)._replace(neutralize=()),
  )  # fmt: skip
