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

fail() { printf 'run: %s\n' "$1" >&2; exit 1; }

mkdir -p "$logs"
chmod 700 "$state"
"$binaries/palisade" certs "$certs"

pids=()
# Whether anything is left of what was started as this process, its replacements included.
alive() { kill -0 -- "-$1" 2>/dev/null; }
stop() {
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
  wait
  # A process that took another's place is no child of this script.
  for pid in "${pids[@]}"; do while alive "$pid"; do sleep 0.1; done; done
  printf 'run: stopped\n'
}
trap 'stop; exit 0' INT TERM
trap stop EXIT

# A session of their own: Ctrl-C reaches this script alone, which stops them in order.
start() { # name, command...
  local name=$1; shift
  setsid "$@" >"$logs/$name.log" 2>"$logs/$name.err" &
  pids+=($!)
}

wait_ready() { # name, pid, url
  local tries=0
  until curl -fsS -o /dev/null --max-time 1 "$3" 2>/dev/null; do
    kill -0 "$2" 2>/dev/null || { cat "$logs/$1.err" >&2; tail -n 3 "$logs/$1.log" >&2; fail "$1 did not start"; }
    tries=$((tries + 1))
    [ $tries -lt 300 ] || fail "$1 is not ready after 30 seconds, see $logs/$1.log"
    sleep 0.1
  done
}

start core "$binaries/palisade-core" all --admin "$core_admin" --data-dir "$state/core" \
  --drain-delay 0s --tls-cert "$certs/mesh/core.pem" --tls-key "$certs/mesh/core.key" --tls-ca "$certs/ca.pem"
wait_ready core "${pids[0]}" "http://$core_admin/ready"
start edge "$binaries/palisade" run --policies policies --certs "$certs" --https "$https" --http "$http" \
  --admin "$admin" --state "$state/edge"
wait_ready edge "${pids[1]}" "http://$admin/readyz"

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

# Either ending by itself ends the other; to be replaced (kill -USR2) is no end.
while alive "${pids[0]}" && alive "${pids[1]}"; do
  sleep 1 &
  wait $! || true
done
fail "a process ended by itself, see $logs"
