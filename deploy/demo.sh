#!/bin/sh
# What `make demo` does: a synthetic library, one example search, then the service.
set -eu
phantoms="$DEMO/phantoms"
query="$phantoms/queries/query-abdomen.png"

if [ ! -f "$phantoms/manifest.csv" ]; then
    "$BIN/sonoseek" datasets phantoms "$phantoms"
fi
"$BIN/sonoseek" enrol demo "$phantoms/manifest.csv" --taxonomy "$phantoms/taxonomy.toml"
echo
echo "\$ sonoseek search $query"
"$BIN/sonoseek" search "$query" --library demo
echo
"$BIN/sonoseek" evaluate demo
[ -z "${ONCE:-}" ] || exit 0

cat <<TEXT

The page:  http://127.0.0.1:$PORT/
A search:  curl -F image=@$query 'http://127.0.0.1:$PORT/search?library=demo&k=10'
The API:   http://127.0.0.1:$PORT/docs
All images are synthetic. Press Ctrl+C to stop.

TEXT
SONOSEEK_SERVER__PORT="$PORT" exec "$BIN/sonoseek" serve
