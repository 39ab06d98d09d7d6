#!/usr/bin/env bash
# Fresh machine -> .venv -> pools mined on simulated markets, as the paper does
# and as configs/best.py does -> their reports. Arguments go to the first run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

workdir=runs/quickstart
.venv/bin/python -m alphajax.train \
  --config=configs/quickstart.py --workdir="$workdir" "$@"
.venv/bin/python -m alphajax.report --workdir="$workdir"
.venv/bin/python -m alphajax.train --config=configs/best.py:simulated \
  --config.max_evaluated=200 --workdir="${workdir}_best"
.venv/bin/python -m alphajax.report --workdir="${workdir}_best"
echo "The reports are at $PWD/$workdir/report.html and $PWD/${workdir}_best"
