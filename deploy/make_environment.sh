#!/bin/sh
# Makes the Python environment of a role in /opt/segue, from the wheels in /wheels. The builder of the images runs it.
set -eu
role=$1
python3 -m venv --without-pip /opt/segue
/opt/tool/bin/pip --python /opt/segue/bin/python install --no-index --no-compile --find-links /wheels "segue[$role]"
/opt/tool/bin/pip --python /opt/segue/bin/python uninstall --yes pygments markdown-it-py mdurl
cd /opt/segue/lib/python3*/site-packages
# Tests of other projects, sources of compiled code, and a second implementation of zstd for PyPy.
find . -type d \( -name tests -o -name testing \) -path './*/*' ! -path './numpy/testing' -prune -exec rm -rf {} +
# (numpy/f2py stays: SciPy reads every public member of numpy, and so imports it.)
rm -rf onnx/backend/test scipy/_lib/tests zstandard/_cffi*.so
find . -name '*.pyi' -o -name '*.pxd' -o -name '*.h' -o -name '*.cc' | xargs rm -f
# The model, the photographs and the calibration of `segue demo`, which runs a whole fleet on one machine.
rm -rf services/cli/data/squeezenet1.1.onnx services/cli/data/photos services/cli/data/calibration
# Compiled now: the root file system may be read-only. Never checked against the sources, which do not change.
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash .
