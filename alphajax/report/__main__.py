r"""Writes `report.html` of a run: one self-contained page.

python -m alphajax.report --workdir=runs/quickstart
python -m alphajax.report --workdir=runs/csi300 --compare=runs/csi300_random

Reads only the folder of the run, never market data.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from alphajax import cli
from alphajax.report import page


def define_flags() -> None:
  """The flags of the command."""
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  flags.DEFINE_multi_string(
    'compare', [], 'Folder of another run to draw beside it; repeatable.'
  )


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  workdir = Path(flags.FLAGS.workdir).expanduser()
  print(page.write_report(workdir, flags.FLAGS.compare))


if __name__ == '__main__':
  cli.run('alphajax.report.__main__')
