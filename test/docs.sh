#!/usr/bin/env bash
# Writes docs/reference.md into the directory of outputs, from the catalog of a scratch server: `make docs`.
set -euo pipefail
. test/cluster.sh

cluster_start 'fsync = off' >/dev/null
trap cluster_stop EXIT
fresh_database reference durable
PGDATABASE=reference perl docs/reference.pl >"$DURABLE_TMP/output/reference.md"
