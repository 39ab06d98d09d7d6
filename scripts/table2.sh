#!/usr/bin/env bash
# Fresh machine -> .venv -> Table 2: all methods on both markets -> its page.
# Started again it goes on. Arguments go to the referee: --jobs=2,
# --config.budget=1000, --methods=random,gp, --validation, ...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

.venv/bin/python -m alphajax.referee \
  --config=configs/referee.py --workdir=runs/table2 "$@"
echo "The page is at $PWD/runs/table2/referee.html"
