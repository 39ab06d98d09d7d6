#!/usr/bin/env bash
# Fresh machine -> .venv -> a pool mined on the embedded market -> its report.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

workdir=runs/quickstart
.venv/bin/python -m alphajax.train \
  --config=configs/quickstart.py --workdir="$workdir" "$@"
.venv/bin/python -m alphajax.report --workdir="$workdir"
echo "The report is at $PWD/$workdir/report.html"
