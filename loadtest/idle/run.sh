#!/usr/bin/env bash
# Memory of idle connections: the edge over TLS and over QUIC, nginx over TLS beside it.
#   loadtest/idle/run.sh [COUNT]
# Needs nginx in the path, and `ulimit -n` a little over COUNT.
set -euo pipefail
cd "$(dirname "$0")/../.."
count=${1:-10000}
https=127.0.0.1:18443 http=127.0.0.1:18080 admin=127.0.0.1:19901 nginx=127.0.0.1:18444

fail() { printf 'idle: %s\n' "$1" >&2; exit 1; }
command -v nginx >/dev/null || fail "nginx is missing; it is the yardstick. On Debian: apt-get install nginx-light"
ulimit -n $((count + 2000)) 2>/dev/null || fail "the limit of open files is $(ulimit -Hn), $((count + 2000)) are needed"

cargo build --locked --release --bin palisade --bin idle-connections
work=$(mktemp -d)
pids=()
stop() {
  trap - EXIT
  [ ${#pids[@]} -eq 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

target/release/palisade certs "$work/certs" >/dev/null

edge() { # a new process for each measurement: memory of the one before must not help
  target/release/palisade run --policies loadtest/idle/policies --certs "$work/certs" --state "$work/state" \
    --https "$https" --http "$http" --admin "$admin" --access-log off --log error &
  pids+=($!)
  local tries=0
  until curl -fsS -o /dev/null --max-time 1 "http://$admin/readyz" 2>/dev/null; do
    kill -0 "${pids[-1]}" 2>/dev/null || fail "the edge did not start"
    tries=$((tries + 1)); [ $tries -lt 300 ] || fail "the edge is not ready"
    sleep 0.1
  done
}

measure() { # label, protocol, address, pid
  target/release/idle-connections --label "$1" --protocol "$2" --server "$3" --pid "$4" \
    --ca "$work/certs/ca.pem" --count "$count"
}

edge
measure "palisade tls" tls "$https" "${pids[-1]}"
kill -KILL "${pids[-1]}"; wait "${pids[-1]}" 2>/dev/null || true
edge
measure "palisade quic" quic "$https" "${pids[-1]}"
kill -KILL "${pids[-1]}"; wait "${pids[-1]}" 2>/dev/null || true

# One process, as the edge is one; TLS and keep-alive as the edge has them.
cat > "$work/nginx.conf" <<CONF
daemon off;
master_process off;
pid $work/nginx.pid;
error_log $work/nginx.err error;
worker_rlimit_nofile $((count + 2000));
events { worker_connections $((count + 1000)); }
http {
  access_log off;
  keepalive_timeout 300s;
  client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/fastcgi;
  uwsgi_temp_path $work/uwsgi; scgi_temp_path $work/scgi;
  server {
    listen $nginx ssl backlog=4096;
    ssl_certificate $work/certs/localhost.pem;
    ssl_certificate_key $work/certs/localhost.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { return 404; }
  }
}
CONF
nginx -p "$work" -c "$work/nginx.conf" &
pids+=($!)
tries=0
until curl -sk -o /dev/null --max-time 1 "https://$nginx/" 2>/dev/null; do
  kill -0 "${pids[-1]}" 2>/dev/null || fail "nginx did not start: $(cat "$work/nginx.err" 2>/dev/null)"
  tries=$((tries + 1)); [ $tries -lt 100 ] || fail "nginx is not ready"
  sleep 0.1
done
measure "nginx tls" tls "$nginx" "${pids[-1]}"
