#!/bin/sh
# Builds the wheel, installs it (not the checkout) beside the tested environment's packages, runs the
# command and the contract tests from it.
set -eu
python="$1/bin/python"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m build -q --wheel --no-isolation --outdir "$work/dist" . >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$python" -m venv "$work/venv"
site=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$work/venv/bin/python" -m pip --disable-pip-version-check install -q --no-deps "$work"/dist/*.whl
# The tested environment's packages, without its editable install of the checkout.
"$python" - "$site" <<'END'
import pathlib, sys, sysconfig
source = pathlib.Path(sysconfig.get_path("purelib"))
target = pathlib.Path(sys.argv[1])
for entry in source.iterdir():
    if "fieldcast" in entry.name.lower() or (target / entry.name).exists():
        continue
    (target / entry.name).symlink_to(entry)
END
cd "$work"
"$work/venv/bin/fieldcast" --help >/dev/null
OMP_NUM_THREADS=1 "$work/venv/bin/python" -m pytest -q -n auto --dist loadgroup -p no:cacheprovider --pyargs fieldcast.conformance
