#!/bin/sh
# The whole search benchmark: results/search.json, .md and .png. About forty minutes on two cores; wants a quiet machine
# with 8 GB. sh benchmarks/search.sh MANIFEST
set -eu
manifest=$1
results=$(dirname "$0")/results
table=$(mktemp)
bench() {
    python -m app bench search --json "$results/search.json" --append "$@" > "$table"
}
# What the paper's Tables 4 and 5 show, at its lengths and at those of the encoders.
bench --n 5000,15000 --dim 10,20,50 --k 10,20,50
bench --n 5000,15000 --dim 256,384,1792 --k 10,20,50
bench --n 130000 --dim 256,384,1792
bench --n 1000000 --dim 256
# Real embeddings: as many as there are, and repeated to size.
bench --n 1116,15000,130000 --data real,real-isotropic --manifest "$manifest" --plot "$results/search.png"
{
    cat << 'HEAD'
# Ways to search

`sh benchmarks/search.sh ../shared/data/fetal/manifest.csv`: one query at a time, each engine in a process of its own
with one thread, 100 queries that are not in the library, asked again for a second at least (a slow engine: 30 seconds,
20 queries). `of a scan` is p50 as a share of a plain float32 scan that verifies nothing, measured in the same run.
`recall` counts neighbours as near as those of a float64 brute force. `memory` is what building adds to a process that
holds the vectors. "All vectors read once" is the least time in which memory gave all vectors up: no full scan is
faster. Kinds of data: docs/engines.md. Above 500,000 vectors engines that would copy all of them to float64 or to
Python's own objects are left out. `faiss-hnsw` and `scan` are the only ones that can be wrong.

![p50 by size](search.png)

HEAD
    cat "$table"
} > "$results/search.md"
rm "$table"
