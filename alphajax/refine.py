r"""Refines one formula: parts of it are left open and filled anew.

python -m alphajax.refine --formula="Mean(close,6)-close" \
  --config=configs/alphacfg.py:csi300 --workdir=runs/refine

By default the right half of the formula is open, as in the paper; `--mask`
marks parts with `_`: `--mask="Mean(_,6)-_"`, or `_(close,20)` for an operator.
Train and validation only; the test split is never loaded. The folder gets
`refine.json`, and a table is printed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from ml_collections import config_flags

from alphajax import cli, train
from alphajax.data.panel import Split
from alphajax.factor import evaluate, metrics
from alphajax.language import dialects, formula_files, masks, vocab
from alphajax.language import formula as formula_lib
from alphajax.language.formula import Formula
from alphajax.methods import refinement, teaching
from alphajax.run import files


class Daily(NamedTuple):
  """Daily series of a signal on the scored days of a split, `[T]` each."""

  ic: np.ndarray
  rank_ic: np.ndarray


def refine(config, workdir: Path, load_market=None) -> dict:
  """Refines `config.refine.formula`; returns what `refine.json` holds.

  A run of `methods.refinement` like any other: it is continued, its best
  formula stands in `pool.json`, and the report shows it.

  Args:
    config: of a method that searches; `config.refine` says what.
    workdir: folder of the run.
    load_market: as in `train.train`.

  Raises:
    ValueError: a formula, mask, bound or option that cannot be; a folder made
      by another config or for another formula.
  """
  if teaching.named(config):
    raise ValueError(
      'config.teacher.runs is set, and a formula is refined by what it says of '
      'returns: leave it out'
    )
  config = config.copy_and_resolve_references()
  if config.method != 'refinement':
    config.refine.search, config.method = config.method, 'refinement'
  task = refinement.make_task(config)  # Refuses before the market is loaded.
  trained = train.train(config, workdir, load_market)
  state, market = trained.state, trained.market
  bench = refinement.make_bench(config, market.train)
  refined, tuned = _tune(config, bench, state)
  result = {
    **describe(config, task, bench, refined, market),
    'edits': [
      edit._asdict()
      for edit in masks.edits(task.form, task.original, state.best)
    ],
    'tuned': tuned,
    'proposed': state.proposed,
    'evaluated': len(state.book),
    'iterations': state.iteration,
    'found_at': state.best_iteration,
    'finished': trained.reason,
  }
  files.write_json(Path(workdir) / 'refine.json', result)
  return result


def _tune(config, bench, state):
  """The best formula, its constants tuned if asked; and what that changed."""
  if not config.refine.tune_constants:
    return state.best, None
  rng_key = jax.random.key(config.seed)
  tune_key = jax.random.fold_in(rng_key, config.num_iterations + 1)
  tuned = refinement.tune(config, bench, state.best, tune_key)
  return tuned.formula, {
    'from': formula_lib.to_text(state.best),
    'before': list(tuned.before),
    'after': list(tuned.after),
    'without_gradient': [tuned.before[i] for i in tuned.without_gradient],
  }


def describe(config, task, bench, refined: Formula, market) -> dict:
  """Figures of original and improved formula on train and validation.

  Signs are chosen on train: a factor that scores by its negative is reported
  as that. `difference` is the paired daily difference of improved to original
  with an interval that knows of the overlap of the labels.
  """
  lag = max(config.label.exit - config.label.entry - 1, 0)
  formulas = {'original': task.original, 'improved': refined}
  result = {
    'formula': config.refine.formula,
    'mask': formula_lib.to_text(task.mask),
    'method': config.refine.search,
    'objective': config.refine.objective,
    'max_length': task.bound,
  }
  series = {}
  for name, formula in formulas.items():
    sign = refinement.sign(bench, formula)
    series[name] = {s.name: daily(formula, s, sign) for s in market}
    result[name] = {
      'formula': formula_lib.to_text(formula),
      'sign': sign,
      'length': masks.length(formula),
      'score': refinement.score(bench, [formula])[0],
      **{s: metrics.summary(*d, lag) for s, d in series[name].items()},
    }
  result['difference'] = {
    split: {
      key: metrics.mean_interval(new - old, lag)._asdict()
      for key, new, old in zip(
        Daily._fields,
        series['improved'][split],
        series['original'][split],
        strict=True,
      )
    }
    for split in series['original']
  }
  return result


def daily(formula: Formula, split: Split, sign: float) -> Daily:
  """Daily IC and RankIC of `sign` times a formula on the scored days."""
  (values,) = evaluate.values([formula], split.panel)
  target, members = jnp.asarray(split.target), jnp.asarray(split.panel.mask)
  return Daily(
    *(
      sign * np.asarray(metric(values, target, members))[split.scored]
      for metric in (metrics.daily_ic, metrics.daily_rank_ic)
    )
  )


def table(result: dict) -> str:
  """A result for people."""
  lines = [f'mask      {result["mask"]}']
  for name in ('original', 'improved'):
    row = result[name]
    negative = '  (its negative is scored)' if row['sign'] < 0 else ''
    lines.append(f'{name:9} {row["formula"]}{negative}')
  for edit in result['edits']:
    lines.append(
      f'  symbol {edit["position"]}, {edit["part"]}: '
      f'{edit["before"]} -> {edit["after"]}'
    )
  lines += _tuned_lines(result['tuned'])
  lines.append(f'\n{"":18}{"original":>10}{"improved":>10}   difference')
  for split, part in result['difference'].items():
    for key, interval in part.items():
      old, new = (
        result[n][split][key]['mean'] for n in ('original', 'improved')
      )
      lines.append(
        f'{split + " " + key:18}{old:10.4f}{new:10.4f}   '
        '{mean:+.4f} [{low:+.4f}, {high:+.4f}]'.format(**interval)
      )
  lines.append(
    f'\n{result["method"]}, objective {result["objective"]} on train, '
    f'{result["evaluated"]:,} formulas evaluated; {result["finished"]}'
  )
  return '\n'.join(lines)


def _tuned_lines(tuned: dict | None) -> Iterator[str]:
  if tuned is None:
    return
  if not tuned['before']:
    yield '  constants: none to tune'
    return
  pairs = zip(tuned['before'], tuned['after'], strict=True)
  changed = [f'{old:g} -> {new:g}' for old, new in pairs if old != new]
  yield f'  constants of {tuned["from"]}: {", ".join(changed) or "kept"}'
  if tuned['without_gradient']:
    flat = ', '.join(f'{c:g}' for c in tuned['without_gradient'])
    yield (
      f'  no gradient reaches {flat} (CSRank, Rank, Sign and Med have none, '
      'and a factor of the whole formula changes nothing)'
    )


def define_flags() -> None:
  """The flags of the command."""
  config_flags.DEFINE_config_file('config', None, 'Path of a config.')
  flags.DEFINE_string('workdir', None, 'Folder of the result.')
  flags.DEFINE_string('formula', None, 'The formula to refine.')
  flags.DEFINE_enum(
    'dialect', dialects.NAMES[0], dialects.NAMES, 'The notation of --formula.'
  )
  flags.DEFINE_string('mask', '', 'The formula with _ for open parts, in ours.')
  flags.mark_flags_as_required(['config', 'formula', 'workdir'])


def in_ours(config, text: str, dialect: str) -> str:
  """Formula text in our notation, which is left as it is written."""
  formula_files.check_notation(text, dialect, '--dialect')
  if dialect == formula_lib.OURS:
    return text
  features = config.language.get('features', vocab.FEATURES)
  return formula_lib.to_text(formula_lib.parse(text, features, dialect=dialect))


def check_method(config) -> None:
  """Refuses a config that has nothing to say of formulas."""
  if 'refine' not in config:
    raise ValueError(
      f'config.method is {config.get("method", "none")!r}, which writes no '
      'formulas: parts are filled by a search, such as that of '
      '--config=alphacfg.py:csi300 or --config=random.py:csi300'
    )


def main(argv):
  """The command."""
  cli.no_more(argv)
  train.prepare()
  options = flags.FLAGS
  config = options.config
  check_method(config)
  config.refine.formula = in_ours(config, options.formula, options.dialect)
  config.refine.mask = options.mask
  print(table(refine(config, Path(options.workdir))))


if __name__ == '__main__':
  cli.run('alphajax.refine')
