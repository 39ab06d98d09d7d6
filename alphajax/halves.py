r"""Out of sample within the train split: mine on one half, judge on the other.

python -m alphajax.halves --config=configs/evolution.py:csi300 \
  --config.data.path=../shared/data/cn_csi300.parquet --workdir=runs/halves

Both ways, and on the validation split, so that every pool is judged on four
spans that it has not seen, purged of labels that overlap. `--rules` judges the
pools of several rules on the same evaluated formulas. Two years of validation
tell little: this is what settings should be chosen by. The test split stays
closed. Started again with the same folder it goes on.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging

from alphajax import cli, markets, train
from alphajax.data import universe
from alphajax.data.panel import Split
from alphajax.factor import evaluate, metrics
from alphajax.judge import figures
from alphajax.language.formula import Formula
from alphajax.methods import archive, choice, linear
from alphajax.run import cache, files

HALVES = ('first', 'second')


def halves(
  config, workdir: str | os.PathLike, rules: Sequence[str] = ()
) -> dict[str, Any]:
  """Mines on each half of the train days and judges on what it has not seen.

  Args:
    config: of the whole run; its train split is halved.
    workdir: a run for each half, `halves.json`, `daily_halves.npz`.
    rules: whose pools are judged, of the same formulas: `algorithm1`, or what
      `choice.parse` reads; none: the run's own result.

  Returns:
    `{rule: {half: {'other': figures, 'valid': figures, 'size': N}}}`, and
    `mean`, the mean IC over the four spans.

  Raises:
    ValueError: as `train`; rules where the method or the config has none.
  """
  workdir = Path(workdir).expanduser()
  check_rules(config, rules)
  days = half_days(config)
  results: dict[str, Any] = {}
  daily = {}
  for half, other in zip(HALVES, HALVES[::-1], strict=True):
    one = config.copy_and_resolve_references()
    one.splits.train = days[half]
    trained = train.train(one, workdir / half)
    spans = {'other': _span(config, days[other]), 'valid': trained.market.valid}
    judged = _judge(one, trained, spans, rules)
    for rule, (size, parts) in judged.items():
      entry = results.setdefault(rule, {})
      entry[half] = {'size': size}
      for name, (summary, series) in parts.items():
        entry[half][name] = summary
        daily[f'{rule}_{half}_{name}'] = series['ic']
  for entry in results.values():
    entry['mean'] = float(
      np.mean([entry[h][s]['ic']['mean'] for h in HALVES for s in spans])
    )
  files.write_json(workdir / 'halves.json', results)
  files.write_arrays(workdir / 'daily_halves.npz', daily)
  return results


def check_rules(config, rules: Sequence[str]) -> None:
  """Refuses rules that are none, or that the run keeps nothing for."""
  for rule in rules:
    if rule != choice.ALGORITHM_1:
      choice.parse(rule, choice.options_of(config.pool))
  if rules and config.pool.rule == choice.ALGORITHM_1:
    raise ValueError(
      f'--rules={",".join(rules)} choose from all formulas of a run, of which '
      'it keeps what they need under one of them: set '
      '--config.pool.rule=elastic_net'
    )


def half_days(config) -> dict[str, tuple[str, str]]:
  """First and last day of each half: as many scored days in both."""
  market, _ = markets.load_market(config)
  split = market.train
  scored = np.flatnonzero(split.scored)
  middle = int(scored[len(scored) // 2])
  start, end = config.splits.train
  dates = split.panel.dates
  return {'first': (start, dates[middle - 1]), 'second': (dates[middle], end)}


def _span(config, days: tuple[str, str]) -> Split:
  """The days of the other half, to be judged on."""
  other = config.copy_and_resolve_references()
  other.splits.train = days
  return markets.load_split(other, 'train')


def _judge(config, trained: train.Trained, spans, rules):
  """Size, figures and series of the pools of rules on every span."""
  label = markets.label_spec(config)
  if not rules:
    predict = functools.partial(trained.method.predict, trained.state)
    found = trained.method.found(trained.state)
    if found is None:
      raise ValueError(
        'the run found nothing to judge: give it more iterations or another '
        'language'
      )
    parts = {
      name: figures.of_signal(predict(split.panel), split, label)
      for name, split in spans.items()
    }
    return {'result': (len(found.formulas), parts)}
  formulas, weights = _choices(config, trained, rules)
  by_span = {
    name: _signals(formulas, weights, split) for name, split in spans.items()
  }
  return {
    rule: (int(np.count_nonzero(weights[i])), {
      name: figures.of_signal(by_span[name][i], split, label)
      for name, split in spans.items()
    })
    for i, rule in enumerate(rules)
  }  # fmt: skip


def _choices(
  config, trained: train.Trained, rules: Sequence[str]
) -> tuple[list[Formula], np.ndarray]:
  """The formulas that any rule chooses, and weights f32[rules, N]."""
  split, mined = trained.market.train, trained.state.mined
  members = universe.make(np.asarray(split.panel.mask))
  label = universe.gather(members, jnp.asarray(split.target))
  target = metrics.make_target(label, members.present)
  chooser = choice.make(config, split, members, target)
  assert chooser is not None  # `check_rules` has seen to it.
  whole = np.zeros((len(rules), len(mined.book)), np.float32)
  for row, rule in zip(whole, rules, strict=True):
    if rule == choice.ALGORITHM_1:
      ids = np.asarray(mined.pool.ids)
      row[ids[ids >= 0]] = np.asarray(mined.pool.weights)[ids >= 0]
    else:
      chosen = choice.choose(chooser, mined.memory, rule)
      row[list(chosen.ids)] = chosen.weights
  used = np.flatnonzero(whole.any(0))
  known = list(mined.book)
  features = tuple(split.panel.feature_names)
  formulas = archive.read([known[i] for i in used.tolist()], features)
  return formulas, whole[:, used]


def _signals(
  formulas: Sequence[Formula], weights: np.ndarray, split: Split
) -> list[jax.Array]:
  """Signals f32[T, S] of several pools that share formulas."""
  store = evaluate.make_store(split.panel)
  return linear.combine_each(
    store, formulas, weights, jnp.asarray(split.panel.mask)
  )


def table(results: dict[str, Any]) -> str:
  """The figures as text."""
  wide = max(map(len, (*results, 'rule'))) + 1
  lines = [f'{"rule":{wide}}{"size":>10}{"first -> second":>18}{"valid":>8}'
           f'{"second -> first":>18}{"valid":>8}{"mean":>8}']  # fmt: skip
  for rule, entry in results.items():
    first, second = (entry[half] for half in HALVES)
    sizes = f'{first["size"]}, {second["size"]}'
    row = f'{rule:{wide}}{sizes:>10}'
    for part in (first, second):
      row += f'{part["other"]["ic"]["mean"]:18.4f}'
      row += f'{part["valid"]["ic"]["mean"]:8.4f}'
    lines.append(f'{row}{entry["mean"]:8.4f}')
  return '\n'.join(lines)


def define_flags() -> None:
  """The flags of the command."""
  train.define_flags()
  flags.DEFINE_list('rules', [], 'Pool rules judged on the same formulas.')


def main(argv: Sequence[str]) -> None:
  """The command."""
  cli.no_more(argv)
  cache.use_disk_cache()
  logging.set_verbosity(logging.WARNING)
  options = flags.FLAGS
  results = halves(options.config, Path(options.workdir), options.rules)
  print(table(results))
  print(f'Written to {Path(options.workdir) / "halves.json"}')


if __name__ == '__main__':
  cli.run('alphajax.halves')
