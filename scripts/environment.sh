# Sourced by the other scripts: enters the repository and makes .venv ready.
# PYTHON chooses the interpreter that a missing .venv is made with.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ! -x .venv/bin/python ]]; then
  python="${PYTHON:-}"
  if [[ -z "$python" ]]; then
    for candidate in python3.11 python3 python3.12 python3.13; do
      if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
          2>/dev/null; then
        python="$candidate"
        break
      fi
    done
  fi
  if [[ -z "$python" ]] ||
      ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "alphajax needs Python 3.11 or later; ${python:-python3} is" \
      "$("${python:-python3}" --version 2>&1 || echo missing)." >&2
    echo 'Name another with PYTHON=/path/to/python.' >&2
    exit 1
  fi
  echo "Making .venv with $("$python" --version)"
  "$python" -m venv .venv
fi

# The stamp is the requirements that were installed last.
if ! cmp -s requirements.txt .venv/requirements.stamp; then
  echo 'Installing requirements.txt'
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -r requirements.txt
  cp requirements.txt .venv/requirements.stamp
fi
