#!/usr/bin/env bash
# Fresh machine -> .venv -> lint -> types -> tests. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# Neighbours stay on one worker: what a file's tests share is made and compiled
# once; a worker that has nothing left takes some of the other's.
.venv/bin/python -m pytest -n 2 --dist worksteal "$@"
