"""The config of a run: whether a folder may go on with another one."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alphajax.run import files


def check_config(
  workdir: str | os.PathLike,
  config: Mapping[str, Any],
  may_change: Sequence[str] = (),
  defaults: Mapping[str, Any] | None = None,
) -> list[str]:
  """Refuses a work folder that another config made.

  Args:
    workdir: folder of the run; one without `config.json` is accepted.
    config: nested dictionary, as it would be written to `config.json`.
    may_change: dotted keys that may differ, `num_iterations` or a whole
      branch such as `data`.
    defaults: nested dictionary of what is meant where a key is not given. A
      folder made before there was a key goes on where the key has this value:
      the default of a new key must be what was done without it.

  Returns:
    What differs and may, a line each, `num_iterations: 20 -> 40`.

  Raises:
    ValueError: they differ; each key is shown with its old and new value.
    RunError: `config.json` is damaged, or `workdir` is a file.
  """
  files.check_folder('--workdir', Path(workdir))
  old = files.read_json(Path(workdir) / 'config.json')
  if old is None:
    return []
  differing = changes(old, config, defaults or {})
  refused = [
    line
    for key, line in differing
    if not any(key == k or key.startswith(k + '.') for k in may_change)
  ]
  if refused:
    raise ValueError(
      f'{workdir} was made by another config (old -> new):\n'
      + '\n'.join(f'  {line}' for line in refused)
      + '\nTake another --workdir, or the old config to continue that run.'
    )
  return [line for _, line in differing]


def changes(
  old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[tuple[str, str]]:
  """`differences` of nested configs, the old one perhaps of before a key.

  defaults: nested; what was done where a key is not given.
  """
  before, now, known = (
    flatten(json.loads(json.dumps(values)))  # Which makes a tuple a list.
    for values in (old, new, defaults)
  )
  # Only for keys that the config still has: one that went is a difference.
  before = {key: known[key] for key in known if key in now} | before
  return differences(before, now)


def differences(
  old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[tuple[str, str]]:
  """Keys whose values differ, each with a line that shows both."""

  def show(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else '(absent)'

  lines = [
    (key, f'{key}: {show(old, key)} -> {show(new, key)}')
    for key in sorted(old.keys() | new.keys())
  ]
  return [
    (key, line) for key, line in lines if show(old, key) != show(new, key)
  ]


def flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """A nested dictionary with dotted keys: `{'data.path': ...}`."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, Mapping) and value:
      flat |= flatten(value, f'{prefix}{key}.')
    else:
      flat[f'{prefix}{key}'] = value
  return flat
