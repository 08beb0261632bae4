#!/bin/sh
# Debian packages that some tests use; without root or apt those tests are skipped with a reason.
set -eu

wanted=""
command -v chromium >/dev/null || wanted="$wanted chromium"
command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted="$wanted postgresql"
[ -n "$wanted" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian's packages for the tests:$wanted"
    # shellcheck disable=SC2086 # several names
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $wanted; } \
        >/tmp/apt.log 2>&1 ||
        { tail -n 5 /tmp/apt.log; echo "not all could be installed; tests that need the rest will be skipped"; }
else
    echo "not here:$wanted; the tests that need them will be skipped"
fi
