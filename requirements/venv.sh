#!/bin/sh
# Makes .venv with a Python for which the locked torch has wheels. PYTHON names one; else the first of this machine
# that fits, or else one that uv downloads.
set -eu
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
versions="Python 3.11, 3.12 or 3.13"
stop() { echo "$1" >&2; exit 2; }
[ ! -L .venv ] || stop ".venv is a link to another folder, which make would empty; remove the link"
version() { "$1" -c 'import platform; print(platform.python_version())' 2> /dev/null || echo "not there"; }

found=
for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$python" -c "$fits" 2> /dev/null; then found=$python; break; fi
done

if [ -n "$found" ]; then
    "$found" -m venv --clear .venv > .venv.log 2>&1 \
        || stop "$found cannot make a virtual environment; on Debian and Ubuntu install python3-venv"
    rm .venv.log
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
    exit
fi
[ -z "${PYTHON:-}" ] || stop "PYTHON=$PYTHON is $(version "$PYTHON"); xtts-study needs $versions"
wanted="xtts-study needs $versions; python3 is $(version python3)"
echo "$wanted: trying to download Python 3.13" >&2
trap 'rm -rf .venv.uv' EXIT
fetch() {
    python3 -m venv --clear .venv.uv &&
        .venv.uv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements/uv.txt &&
        .venv.uv/bin/uv venv --clear --managed-python --python 3.13 .venv &&
        .venv.uv/bin/uv pip install --python .venv/bin/python --require-hashes -r requirements/uv.txt
}
fetch > .venv.log 2>&1 || stop "no Python 3.13 could be downloaded (.venv.log says why); name one with PYTHON=python3.13"
rm .venv.log
