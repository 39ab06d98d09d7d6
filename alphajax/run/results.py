"""What evaluations of a run found: `results.json` of its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alphajax.run import files, lock


def keep(
  workdir: Path, name: str, entry: Mapping[str, Any], openings: int = 0
) -> dict[str, Any]:
  """Writes what is known of an evaluation; all that `results.json` holds then.

  Others may have written since: it is read anew, and each changes its own part.

  openings: how many more there are.
  """
  path = workdir / 'results.json'
  with lock.waiting(workdir):
    results = files.read_json(path) or {'opened': 0}
    mine = results
    if name != 'test':
      evaluations = results.setdefault('evaluations', {})
      mine = evaluations.setdefault(name, {'opened': 0})
    mine['opened'] += openings
    mine.pop('best_of', None)  # Of another time, maybe of another pool.
    mine |= entry
    files.write_json(path, results)
  return results
