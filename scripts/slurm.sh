#!/usr/bin/env bash
# Many runs on a cluster with SLURM: an array of tasks, each with a part of the
# runs, and after them the same command once more, which writes the tables.
#
#   scripts/slurm.sh TASKS [sbatch options] -- COMMAND [flags]
#   scripts/slurm.sh 8 --gpus=1 --time=4:00:00 -- sweep \
#     --config=alphacfg.py:csi300 --set=data.path=prices.parquet --seeds=8 \
#     --workdir=runs/sweep
#   scripts/slurm.sh 12 --cpus-per-task=2 -- walk_forward --config=...
#
# COMMAND is sweep, referee or walk_forward. All tasks must see --workdir and the
# data. A task that is stopped, by its time limit or for another job, begins
# anew and goes on where it was: give --requeue, or the same line once more.
# Where `alphajax` is not on the PATH of the tasks, ALPHAJAX names it.
set -euo pipefail

usage() {
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

[[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || usage
tasks=$1
shift
options=()
while (($#)) && [[ "$1" != -- ]]; do
  options+=("$1")
  shift
done
(($# >= 2)) || usage
shift
case "$1" in
  sweep | referee | walk_forward) ;;
  *) echo "slurm.sh: $1 has no --part: sweep, referee, walk_forward do" >&2
     exit 2 ;;
esac
if ! command -v sbatch > /dev/null; then
  echo 'slurm.sh: there is no sbatch here; on one machine --jobs=N does it' >&2
  exit 1
fi

printf -v line ' %q' "${ALPHAJAX:-alphajax}" "$@"
job=$(sbatch --parsable --job-name="alphajax-$1" \
  --array="0-$((tasks - 1))" ${options[@]+"${options[@]}"} \
  --wrap="exec$line --part=\"\$SLURM_ARRAY_TASK_ID/$tasks\"")
job=${job%%;*}  # On a federation the cluster's name follows.
tables=$(sbatch --parsable --job-name="alphajax-$1-tables" \
  --dependency="afterany:$job" ${options[@]+"${options[@]}"} --wrap="exec$line")
echo "$tasks tasks are job $job; the tables are job ${tables%%;*} after it."
