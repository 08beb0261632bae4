#!/bin/sh
# What `make demo` does: a synthetic library, one example search, then the service.
set -eu
phantoms="$DEMO/phantoms"
query="$phantoms/queries/query-abdomen.png"

if [ ! -f "$phantoms/manifest.csv" ]; then
    "$BIN/sonoseek" datasets phantoms "$phantoms"
fi
"$BIN/sonoseek" enrol demo "$phantoms/manifest.csv" --taxonomy "$phantoms/taxonomy.toml"
# Nothing to do unless the weights have changed since the library was made.
"$BIN/sonoseek" reembed demo >/dev/null
printf '\n$ SONOSEEK_DATA=%s %s/sonoseek search %s\n' "$SONOSEEK_DATA" "$BIN" "$query"
"$BIN/sonoseek" search "$query" --library demo
echo
"$BIN/sonoseek" evaluate demo
[ -z "${ONCE:-}" ] || exit 0

exec "$BIN/python" deploy/demo_serve.py "$PORT" "$query"
