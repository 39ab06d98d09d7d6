#!/usr/bin/env bash
# One training on all hosts of a TPU pod: the same command on each, which find
# each other and train as one. Games are dealt over all chips.
#
#   scripts/tpu_pod.sh NAME [gcloud options] -- train [flags]
#   scripts/tpu_pod.sh pod-1 --zone=us-central2-b -- train \
#     --config=alphacfg.py:csi300 --config.data.path=/mnt/prices.parquet \
#     --workdir=/mnt/runs/a
#
# All hosts must see --workdir and the data at the same place, and have alphajax
# installed (pip install "alphajax[tpu]"); where `alphajax` is not on their PATH,
# ALPHAJAX names it. Given again, the line goes on where the job was stopped.
set -euo pipefail

usage() {
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

(($#)) && [[ "$1" != -* ]] || usage
name=$1
shift
options=()
while (($#)) && [[ "$1" != -- ]]; do
  options+=("$1")
  shift
done
(($# >= 2)) || usage
shift
if [[ "$1" != train ]]; then
  echo "tpu_pod.sh: $1 has no --distributed: train does; sweeps are divided" \
    'by --part' >&2
  exit 2
fi
if ! command -v gcloud > /dev/null; then
  echo 'tpu_pod.sh: there is no gcloud here; start the command on every host' \
    'yourself, with --distributed' >&2
  exit 1
fi

printf -v line ' %q' "${ALPHAJAX:-alphajax}" "$@" --distributed
exec gcloud compute tpus tpu-vm ssh "$name" --worker=all ${options[@]+"${options[@]}"} \
  --command="exec$line"
