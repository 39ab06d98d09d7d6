r"""Measures alphajax on this machine: one command, one table, JSON beside it.

python -m scripts.benchmark [--quick] [--out=runs/benchmark] [--data=FOLDER] \
  [--parts=operators,formulas,search,emission,alphaformer,pool,iteration,methods,\
  backtest,assess,startup,scaling,peers]

All parts but `scaling` and `peers` run by default, about 12 minutes on two
cores; `peers`, what others evaluate on one core, takes some 15. `--quick`
takes tiny sizes, and leaves `startup` and `alphaformer` out as well: it shows
that everything runs and measures nothing. Each part is a process of its own,
but under `--quick`, so peak memory is its own. Nothing else should run on the
machine meanwhile.

The peer of `formulas` needs PyTorch, which the requirements do not name; those
of `peers` are PyTorch, pandas, polars, numba with bottleneck, and KunQuant with
a C++ compiler, each left out with a word where it is not installed.
"""

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.benchmark import goals, report

ROOT = Path(__file__).resolve().parents[2]
# Part -> its processes, functions `module:name`.
PARTS = {
  'operators': ('parts:operator_part',),
  'formulas': ('formulas:formula_part',),
  'search': ('parts:search_part',),
  'emission': ('emission:emission_part',),
  'alphaformer': ('alphaformer:alphaformer_part',),
  'pool': ('parts:pool_part',),
  'iteration': ('parts:iteration_part',),
  'methods': ('methods:methods_part',),
  'backtest': ('backtest:backtest_part',),
  'assess': ('assess:assess_part',),
  'startup': (),  # Runs `alphajax.train` itself.
  'scaling': (
    'scaling:formula_scaling',
    'scaling:stock_scaling',
    'scaling:search_scaling',
    'scaling:large_panel',
  ),
  'peers': ('peers:peers_part', 'peers:peer_stocks'),
}
DEFAULT = [part for part in PARTS if part not in ('scaling', 'peers')]
QUICK = [part for part in DEFAULT if part not in ('startup', 'alphaformer')]
POLL_SECONDS = 0.02
WITH_DATA = (
  'iteration_part',
  'methods_part',
  'backtest_part',
  'assess_part',
  'alphaformer_part',
)  # Take a folder of real panels.


def parse_arguments() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--parts', help=f'of {",".join(PARTS)}')
  parser.add_argument('--quick', action='store_true')
  parser.add_argument('--out', type=Path, default=ROOT / 'runs' / 'benchmark')
  parser.add_argument(
    '--data',
    type=Path,
    default=os.environ.get('ALPHAJAX_DATA', ROOT.parent / 'shared' / 'data'),
    help='folder of cn_csi300.parquet; without it the real panel is left out',
  )
  parser.add_argument('--worker', help=argparse.SUPPRESS)
  args = parser.parse_args()
  default = QUICK if args.quick else DEFAULT
  args.parts = args.parts.split(',') if args.parts else default
  unknown = set(args.parts) - set(PARTS)
  if unknown:
    parser.error(f'unknown parts {", ".join(unknown)}: of {", ".join(PARTS)}')
  return args


def main() -> None:
  args = parse_arguments()
  if args.worker:
    work(args)
    return
  args.out.mkdir(parents=True, exist_ok=True)
  found = {'quick': args.quick, 'machine': machine(), 'parts': {}}
  began = busy_seconds(), time.perf_counter()
  written = args.out / 'benchmark.json'
  if 'startup' in args.parts:
    found['parts']['startup'] = startup(args.data)
  workers = {
    worker.split(':')[1] if len(PARTS[part]) > 1 else part: worker
    for part in args.parts
    for worker in PARTS[part]
  }
  together = [list(workers)] if args.quick else [[name] for name in workers]
  for names in together:
    records = run_workers([workers[name] for name in names], args)
    found['parts'] |= dict(zip(names, records, strict=True))
    written.write_text(json.dumps(found, indent=1))  # A later part may fail.
  found['machine']['load_after'] = os.getloadavg()[0]
  found['machine']['others_share'] = others_share(*began)
  found['goals'] = goals.of_parts(found['parts'])
  written.write_text(json.dumps(found, indent=1))
  table = report.table(found)
  (args.out / 'benchmark.md').write_text(table)
  print(table)


def machine() -> dict:
  """What the figures depend on."""
  model = platform.processor()
  if Path('/proc/cpuinfo').exists():
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    names = [x.split(':')[1].strip() for x in lines if 'model name' in x]
    model = names[0] if names else model
  return {
    'processor': model,
    'cores': len(os.sched_getaffinity(0)),
    'python': platform.python_version(),
    'load_before': os.getloadavg()[0],
  }


def busy_seconds() -> float | None:
  """Processor time that the whole machine has spent; None if it is unknown."""
  if not Path('/proc/stat').exists():
    return None
  user, nice, system, _, _, *interrupts = map(
    int, Path('/proc/stat').read_text().split('\n')[0].split()[1:8]
  )
  ticks = user + nice + system + sum(interrupts)
  return ticks / os.sysconf('SC_CLK_TCK')


def others_share(busy: float | None, began: float) -> float | None:
  """Share of the machine's time that went to other processes since `began`."""
  if busy is None:
    return None
  own = sum(
    usage.ru_utime + usage.ru_stime
    for usage in map(
      resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
  )
  available = os.cpu_count() * (time.perf_counter() - began)
  return max(0.0, (busy_seconds() - busy - own) / available)


def environment(**more: str) -> dict:
  # JAX would take most of a GPU's memory and leave the peer none.
  known = dict(XLA_PYTHON_CLIENT_PREALLOCATE='false', PYTHONPATH=str(ROOT))
  return {**known, **os.environ, **more}


def run_workers(workers: list[str], args: argparse.Namespace) -> list[dict]:
  """Runs functions in a process of their own and returns their records."""
  with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, '-m', __package__]
    command += [f'--worker={",".join(workers)}', f'--data={args.data}']
    command += [f'--out={folder}/records.json']
    command += ['--quick'] if args.quick else []
    subprocess.run(command, check=True, cwd=ROOT, env=environment())
    return json.loads(Path(folder, 'records.json').read_text())


def work(args: argparse.Namespace) -> None:
  """The other side of `run_workers`."""
  # Only here, so that the parent holds neither memory nor an accelerator.
  from alphajax.factor import memory as process_memory

  process_memory.reuse()  # As commands do.
  import jax

  from alphajax.run import cache, clock

  cache.use_disk_cache()
  compiling = clock.CompileClock()
  records = []
  for worker in args.worker.split(','):
    print(f'{worker} ...', file=sys.stderr, flush=True)
    module, name = worker.split(':')
    function = getattr(importlib.import_module(f'{__package__}.{module}'), name)
    more = {'data': args.data} if name in WITH_DATA else {}
    start = time.perf_counter()
    result = function(args.quick, **more)
    device = jax.devices()[0]
    memory = device.memory_stats() or {}
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records.append(
      {
        'result': result,
        'seconds': time.perf_counter() - start,
        'compile_seconds': compiling.take(),
        'peak_bytes': 1024 * kilobytes,
        'device_peak_bytes': memory.get('peak_bytes_in_use'),
        'backend': jax.default_backend(),
        'device': device.device_kind,
        'jax': jax.__version__,
      }
    )
  args.out.write_text(json.dumps(records))


def startup(data: Path) -> dict:
  """Seconds from the start of `train` to the end of its first iteration.

  Twice, with a disk cache that is empty at first.
  """
  print('startup ...', file=sys.stderr, flush=True)
  command = [sys.executable, '-m', 'alphajax.train']
  panel = data / 'cn_csi300.parquet'
  if panel.is_file():
    command += ['--config=configs/alphacfg.py:csi300']
    command += [f'--config.data.path={panel}']
  else:
    command += ['--config=configs/alphacfg.py:simulated']
    command += ['--config.data.simulate.num_stocks=300']
  command += ['--config.num_iterations=1']
  with tempfile.TemporaryDirectory() as folder:
    runs = [
      _first_iteration(command, Path(folder), name) for name in ('cold', 'warm')
    ]
  result = {'command': ' '.join(command[1:]), 'cold': runs[0], 'warm': runs[1]}
  return {'result': result}


def _first_iteration(command, folder: Path, name: str) -> dict:
  """Runs `train` to its end; when were the metrics of iteration 1 written?"""
  workdir = folder / name
  written = workdir / 'metrics.jsonl'
  start = time.perf_counter()
  log = open(folder / f'{name}.log', 'w+')
  process = subprocess.Popen(
    [*command, f'--workdir={workdir}'],
    cwd=ROOT,
    env=environment(ALPHAJAX_CACHE=str(folder / 'cache')),
    stdout=log,
    stderr=log,
  )
  first = None
  while process.poll() is None:
    if first is None and written.exists() and written.stat().st_size:
      first = time.perf_counter() - start
    time.sleep(POLL_SECONDS)
  if process.returncode or first is None:
    log.seek(0)
    raise RuntimeError(f'{" ".join(command)} failed:\n{log.read()}')
  record = json.loads(written.read_text().splitlines()[0])
  return {
    'first_iteration': first,
    'whole_process': time.perf_counter() - start,
    'compile_seconds': record['compile_seconds'],
    'iteration_seconds': record['seconds'],
  }


if __name__ == '__main__':
  main()
