#!/bin/sh
# Installs everything the project needs on a fresh Debian machine into a virtual environment: setup.sh VENV
# What the tests and benchmarks compare with is installed by `make test`'s own first step (see packages below).
set -eu
venv=$1
packages="musl-tools libseccomp2 nftables iproute2 procps"

missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --editable '.[dev,postgresql]'
