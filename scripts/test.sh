#!/usr/bin/env bash
# Fresh machine -> .venv -> lint -> types -> tests. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# A file stays on one worker: what its tests share is made and compiled once.
# `tests/conftest.py` has the long files first.
.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
