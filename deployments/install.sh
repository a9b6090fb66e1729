#!/bin/sh
# Make a virtual environment and install hone into it with the pinned versions.
# Usage: install.sh FOLDER REQUIREMENT    (REQUIREMENT: "." or ".[dev]" and the like)
set -eu
venv=$1
requirement=$2
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "hone needs Python 3.11 or newer; '$python' is $("$python" -V 2>&1 || echo missing)." >&2
    echo "Name another one: make PYTHON=python3.12 ..." >&2
    exit 3
fi
# An attempt that failed half-way leaves a python without pip; another one completes it.
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$venv"

# uv takes half a minute where pip takes minutes. It does not read pip's configuration, so where it
# cannot be had, or cannot reach the index that pip is configured for, pip does the work.
pip="$venv/bin/python -m pip --disable-pip-version-check"
configured=$($pip config get global.index-url 2>/dev/null ||
    $pip config get install.index-url 2>/dev/null || true)
index=${UV_INDEX_URL:-$configured}
index=${PIP_INDEX_URL:-$index}
[ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
certificates=${PIP_CERT:-$($pip config get global.cert 2>/dev/null || true)}
[ -z "$certificates" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$certificates}"
echo "hone: installing the pinned versions into $venv" >&2
if { [ -x "$venv/bin/uv" ] || $pip install --quiet uv; } &&
    UV_LINK_MODE=copy "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" \
        --compile-bytecode --constraint constraints.txt --editable "$requirement"; then
    exit 0
fi
echo "hone: uv could not install; using pip, which takes some minutes" >&2
$pip install --quiet --constraint constraints.txt --editable "$requirement"
