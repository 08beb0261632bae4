#!/bin/sh
# What `make demo` does: a synthetic library, one example search, then the service.
set -eu
phantoms="$DEMO/phantoms"
query="$phantoms/queries/query-abdomen.png"
address="http://127.0.0.1:$PORT"

if [ ! -f "$phantoms/manifest.csv" ]; then
    "$BIN/sonoseek" datasets phantoms "$phantoms"
fi
"$BIN/sonoseek" enrol demo "$phantoms/manifest.csv" --taxonomy "$phantoms/taxonomy.toml"
printf '\n$ sonoseek search %s\n' "$query"
"$BIN/sonoseek" search "$query" --library demo
echo
"$BIN/sonoseek" evaluate demo
[ -z "${ONCE:-}" ] || exit 0

SONOSEEK_SERVER__HOST=127.0.0.1 SONOSEEK_SERVER__PORT="$PORT" "$BIN/sonoseek" serve &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server"; exit 0' INT TERM
"$BIN/python" deploy/wait_until_ready.py "$address" "$server" || { wait "$server"; exit 1; }
cat <<TEXT

The page:  $address/
A search:  curl -F image=@$query '$address/search?library=demo&k=10'
The API:   $address/docs
All images of this library are synthetic. Press Ctrl+C to stop.

TEXT
wait "$server"
