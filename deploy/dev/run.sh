#!/usr/bin/env bash
# Start the core services and the edge on this machine, wait until both are ready, stop both on Ctrl-C.
#   run.sh BINARIES STATE CERTS
set -euo pipefail
binaries=$1 state=$2 certs=$3
https=${PALISADE_HTTPS:-127.0.0.1:8443}
http=${PALISADE_HTTP:-127.0.0.1:8080}
admin=${PALISADE_ADMIN:-127.0.0.1:9901}
core_admin=${CORE_ADMIN:-127.0.0.1:8100}
logs="$state/logs"

mkdir -p "$logs"
source "$(dirname "$0")/processes.sh"
chmod 700 "$state"
"$binaries/palisade" certs "$certs"

start core "$binaries/palisade-core" all --admin "$core_admin" --data-dir "$state/core" \
  --drain-delay 0s --tls-cert "$certs/mesh/core.pem" --tls-key "$certs/mesh/core.key" --tls-ca "$certs/ca.pem"
wait_ready core "http://$core_admin/ready"
start edge "$binaries/palisade" run --policies policies --certs "$certs" --https "$https" --http "$http" \
  --admin "$admin" --state "$state/edge"
wait_ready edge "http://$admin/readyz"

cat <<TEXT

Palisade is running.
  https    https://localhost:${https##*:}   (HTTP/1.1, HTTP/2, HTTP/3)
  http     http://localhost:${http##*:}    (redirects to https)
  admin    http://$admin   /metrics /livez /readyz /policy /explain
  core     http://$core_admin   /metrics /health /ready
  logs     $logs/edge.log  $logs/core.log

Try:
  curl --cacert $certs/ca.pem https://localhost:${https##*:}/register -d '{"email":"ada@example.com","password":"correct horse battery","name":"Ada"}' -H 'content-type: application/json' -i
  curl --cacert $certs/ca.pem https://localhost:${https##*:}/login -d '{"email":"ada@example.com","password":"correct horse battery"}' -H 'content-type: application/json'
  curl http://$admin/policy

Ctrl-C stops both.
TEXT

watch_all
