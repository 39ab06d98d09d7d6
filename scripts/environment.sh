# shellcheck shell=bash
# Sourced by the other scripts: enters the repository and makes .venv ready.
# PYTHON chooses the interpreter that a missing .venv is made with.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [[ ! -x .venv/bin/pip ]]; then
  for python in ${PYTHON:-python3.11 python3 python3.12 python3.13}; do
    if is_new_enough "$python"; then break; fi
  done
  if ! is_new_enough "$python"; then
    echo "alphajax needs Python 3.11 or later; $python is not." >&2
    echo 'Name one with PYTHON=/path/to/python.' >&2
    exit 1
  fi
  echo "Making .venv with $("$python" --version)"
  "$python" -m venv .venv
fi

# The stamp is what was installed last. The package goes in as it lies here, so
# that its sources may change, and `alphajax` is a command; the pins stay.
if ! cat requirements.txt pyproject.toml | cmp -s - .venv/requirements.stamp
then
  echo 'Installing requirements.txt and alphajax'
  .venv/bin/python -m pip install -qq --disable-pip-version-check \
    -r requirements.txt
  .venv/bin/python -m pip install -qq --disable-pip-version-check \
    --no-deps --no-build-isolation -e .
  cat requirements.txt pyproject.toml > .venv/requirements.stamp
fi
