r"""Writes `report.html` of a run: one self-contained page.

python -m alphajax.report --workdir=runs/quickstart
python -m alphajax.report --workdir=runs/csi300 --compare=runs/csi300_random

Reads only the folder of the run, never market data.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

from alphajax.report import page
from alphajax.run.folder import RunError


def main(argv: Sequence[str]) -> None:
  """The command."""
  if len(argv) > 1:
    raise app.UsageError(f'unknown arguments: {" ".join(argv[1:])}')
  try:
    print(page.write_report(flags.FLAGS.workdir, flags.FLAGS.compare))
  except RunError as error:
    sys.exit(f'report: {error}')


if __name__ == '__main__':
  # Here, since `train` and `evaluate` have a flag of the same name and a
  # process may import all three.
  flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
  flags.DEFINE_multi_string(
    'compare', [], 'Folder of another run to draw beside it; repeatable.'
  )
  app.run(main)
