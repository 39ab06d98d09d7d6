#!/usr/bin/env bash
# Fresh machine -> .venv -> lint -> tests, and types beside them.
# Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

export JAX_PLATFORMS="${JAX_PLATFORMS:-cpu}"
# Where it is set, every process compiles the package and rewrites the tests.
unset PYTHONDONTWRITEBYTECODE
# A worker has a core: more threads of a library would wait for each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# To read a program from disk takes as long as to compile a small one, and
# nobody reads which line an operation of it came from.
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.3
export JAX_TRACEBACK_IN_LOCATIONS_LIMIT=0
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/shellcheck -P SCRIPTDIR -x scripts/*.sh
# A core is busy with it for up to a minute, so it runs beside the tests.
said=$(mktemp)
trap 'rm -f "$said"' EXIT
.venv/bin/mypy > "$said" 2>&1 &
types=$!

run_tests() {
  # A file stays on one worker: what its tests share is made and compiled once.
  local code=0
  .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@" \
    || code=$?
  if ((code == NONE && ++without_tests < 2)); then code=0; fi
  return "$code"
}

NONE=5  # What pytest returns where no test was asked for.
without_tests=0
# One module a program: with two cores, pieces cost more than they gain.
whole='--xla_cpu_parallel_codegen_split_count=1'
# `tests/conftest.py` says which files are compiled quickly, in a third of the
# time: those that test what is done, not how it rounds.
quickly='--xla_backend_optimization_level=0'
quickly+=' --xla_llvm_disable_expensive_passes=true'
quickly+=' --xla_cpu_use_fusion_emitters=false'
flags="$whole ${XLA_FLAGS:-}"
failed=0
XLA_FLAGS="$flags" run_tests --compiled=fully "$@" || failed=$?
XLA_FLAGS="$quickly $flags" run_tests --compiled=quickly "$@" || failed=$?
wait "$types" || failed=$?
cat "$said"
exit "$failed"
