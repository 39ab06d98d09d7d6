"""Parts of many runs, and the script that hands them to a cluster."""

import os
import subprocess
from pathlib import Path

import pytest

from alphajax import parts

SLURM = Path(__file__).resolve().parents[1] / 'scripts' / 'slurm.sh'
# It runs what it is given at once, a task after the other.
SBATCH = """#!/usr/bin/env bash
for word in "$@"; do case "$word" in
  --array=0-*) last=${word#--array=0-} ;;
  --wrap=*) wrap=${word#--wrap=} ;;
esac; done
echo "$*" >> asked
for i in $(seq 0 "${last:-0}"); do
  SLURM_ARRAY_TASK_ID=$i bash -c "$wrap" >> done
done
echo "$$;cluster"
"""


@pytest.mark.parametrize('count', [1, 3, 7, 9])
def test_parts_have_every_run_once(count):
  runs = list('abcdefg')
  each = [parts.of(parts.Part(i, count), runs) for i in range(count)]
  assert sorted(sum(each, [])) == runs
  assert max(map(len, each)) - min(map(len, each)) <= 1
  assert parts.of(None, runs) == runs


def test_what_is_read():
  assert parts.read('') is None
  assert parts.read('2/8') == parts.Part(2, 8)
  assert str(parts.Part(2, 8)) == '2/8'
  for text in ('8/8', '1', '0/0', '-1/2', 'a/b', '1/2/3'):
    with pytest.raises(ValueError, match=f'--part={text}: expected .* 0/2'):
      parts.read(text)


def slurm(tmp_path, *words, **changes):
  """What the script says where `sbatch` and `alphajax` are those of a test."""
  for name, text in {
    'sbatch': SBATCH,
    'alphajax': '#!/usr/bin/env bash\nprintf "[%s]" "$@"\necho\n',
  }.items():
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o755)
  path = f'{tmp_path}:{os.environ["PATH"]}'
  return subprocess.run(
    ['bash', SLURM, *words],
    cwd=tmp_path, env=os.environ | {'PATH': path} | changes,
    capture_output=True, text=True,
  )  # fmt: skip


def test_an_array_of_parts_and_the_tables_after_it(tmp_path):
  flags = ['sweep', '--config=my configs/a.py:x', "--vary=a=1,(2,'b')"]
  done = slurm(tmp_path, '3', '--gpus=1', '--time=1:00', '--', *flags)
  assert done.returncode == 0, done.stderr
  array, tables = (tmp_path / 'asked').read_text().splitlines()
  assert '--array=0-2 --gpus=1 --time=1:00' in array
  job = done.stdout.split('are job ')[1].split(';')[0]
  assert f'--dependency=afterany:{job} --gpus=1 --time=1:00' in tables
  said = ''.join(f'[{word}]' for word in flags)
  assert (tmp_path / 'done').read_text().splitlines() == [
    *(f'{said}[--part={i}/3]' for i in range(3)),
    said,
  ]


@pytest.mark.parametrize(
  'words, expected',
  [
    ([], 'scripts/slurm.sh TASKS'),
    (['0', '--', 'sweep'], 'scripts/slurm.sh TASKS'),
    (['3', '--gpus=1', 'sweep'], 'scripts/slurm.sh TASKS'),
    (['3', '--', 'train'], 'train has no --part'),
  ],
)
def test_refusals(tmp_path, words, expected):
  done = slurm(tmp_path, *words)
  assert done.returncode == 2 and expected in done.stderr
  assert not (tmp_path / 'asked').exists()


def test_without_slurm(tmp_path):
  done = slurm(tmp_path, '2', '--', 'sweep', PATH='/usr/bin:/bin')
  assert done.returncode == 1 and '--jobs=N' in done.stderr
