#!/usr/bin/env bash
# On a machine with a GPU or TPU: the tests of what depends on the device, two
# short trainings and the benchmark, within 8 minutes. Nothing is installed:
# PYTHON is an interpreter that has the requirements and JAX for the device, OUT
# the folder for logs and tables, STEPS some of `tests train benchmark`, or
# `formulas`, the part of the benchmark that evaluates formulas, in some 90 seconds.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

python="${PYTHON:-.venv/bin/python}"
out="${OUT:-runs/accelerator}"
steps="${STEPS:-tests train benchmark}"
mkdir -p "$out"
unset JAX_PLATFORMS
# Several processes share the device.
export XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1
export PYTHONPATH=".${PYTHONPATH:+:$PYTHONPATH}"

"$python" - <<'PYTHON' || exit 1
import sys, jax
device = jax.devices()[0]
print(f'{device.device_kind}, JAX {jax.__version__}', flush=True)
if device.platform == 'cpu':
  sys.exit('JAX finds no accelerator here; install jax[cuda12] or jax[tpu]')
PYTHON

# Values, statistics, pool and search against their float64 oracles.
files=(operators metrics pool numerics evaluate_store compile causality lasso
  pool_rules library mcts tree_lstm sequence gumbel environment rollout
  objectives neutral learning resume waves flows dealing)
tests=("${files[@]/#/tests/}")
tests=("${tests[@]/%/_test.py}")

failed=0
run() {  # NAME SECONDS COMMAND...: into a log, the end of it shown.
  local name="$1" limit="$2" began=$SECONDS code
  shift 2
  timeout --signal=INT --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1
  code=$?
  tail -n "${TAIL:-15}" "$out/$name.log"
  echo "== $name: exit $code after $((SECONDS - began)) s"
  ((code == 0)) || failed=1
}

for step in $steps; do
  case "$step" in
    tests)
      run tests "${TESTS_SECONDS:-200}" "$python" -m pytest -q -n "${WORKERS:-8}" \
        -p no:cacheprovider -W ignore --tb=short -rf "${tests[@]}"
      ;;
    train)
      for method in random alphacfg; do
        run "train_$method" 100 "$python" -m alphajax.train \
          "--config=configs/$method.py:simulated" \
          --config.num_iterations=3 "--workdir=$out/$method"
      done
      ;;
    benchmark)
      run benchmark "${BENCHMARK_SECONDS:-200}" "$python" -m scripts.benchmark \
        --parts=formulas,pool,search "--out=$out/benchmark"
      ;;
    formulas)
      TAIL="${TAIL:-80}" run formulas "${FORMULAS_SECONDS:-120}" "$python" -m scripts.benchmark \
        --parts=formulas "--out=$out/formulas"
      ;;
    *)
      echo "unknown step $step: of tests, train, benchmark, formulas" >&2
      exit 1
      ;;
  esac
done
exit "$failed"
