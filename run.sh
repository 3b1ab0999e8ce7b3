#!/bin/sh
# Starts the engine on its default socket if none answers, loads the image that ships with it, runs a container.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sampan=$here/.venv/bin/sampan

"$sampan" load --input "$here/src/sampan/_native/hello.tar"
"$sampan" run --rm sampan/hello
