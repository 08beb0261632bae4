#!/bin/sh
# Debian packages that some tests use; without root or apt those tests are skipped with a reason.
set -eu
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian's chromium for the browser tests"
    { apt-get update && apt-get install --yes --no-install-recommends chromium; } >/tmp/apt.log 2>&1 ||
        { tail -n 5 /tmp/apt.log; echo "chromium could not be installed; the browser tests will be skipped"; }
else
    echo "no chromium here: the browser tests will be skipped"
fi
