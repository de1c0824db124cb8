#!/usr/bin/env bash
# Time and memory of `palisade diff --replay` on a large access log, plain and packed.
#   loadtest/replay/run.sh [LINES] [PROFILE]
# The log is made up: a thousand routes, paths with ids, some requests that no route serves.
set -euo pipefail
cd "$(dirname "$0")/../.."
lines=${1:-1000000} profile=${2:-release} routes=1000

cargo build --locked --profile "$profile" --bin palisade
[ "$profile" = dev ] && folder=debug || folder=$profile
palisade=$PWD/target/$folder/palisade
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/old" "$work/new"

# Each tenth route of the new policy asks for a scope, and each hundredth is gone.
policy() { # 0 the old one, 1 the new one
  awk -v routes="$routes" -v new="$1" 'BEGIN {
    print "version: 1"
    print "clusters: [{ name: core, endpoints: [\"127.0.0.1:1\"] }]"
    print "issuers: [{ name: id, issuer: id, audiences: [a], algorithms: [EdDSA], jwks: { url: \"https://id.example/\" } }]"
    print "limits: [{ name: all, key: client_address, rate: 100/s }]"
    print "routes:"
    for (i = 0; i < routes; i++) {
      if (new && i % 100 == 99) continue
      printf "  - { name: r%d, hosts: [h%d.example], matches: [{ path: { template: \"/v1/t%d/{id}\" } }], limits: [all], ", i, i % 50, i
      printf "auth: { issuer: id%s }, cluster: core }\n", new && i % 10 == 0 ? ", scopes: [extra]" : ""
    }
  }'
}
policy 0 >"$work/old/policy.yaml"
policy 1 >"$work/new/policy.yaml"

awk -v routes="$routes" -v lines="$lines" 'BEGIN {
  srand(1)
  for (n = 0; n < lines; n++) {
    i = int(rand() * routes); lost = n % 20 == 0
    printf "{\"ts\":%.3f,\"message\":\"request\",\"request_id\":\"%032x\",\"trace_id\":\"%032x\",", 1790000000 + n / 1000, n, n * 7
    printf "\"client\":\"10.%d.%d.%d\",\"protocol\":\"2\",\"scheme\":\"https\",\"tls_version\":\"1.3\",", n % 200, n % 199, n % 251
    printf "\"tls_server_name\":\"h%d.example\",\"method\":\"GET\",\"host\":\"h%d.example\",", i % 50, i % 50
    if (lost) printf "\"path\":\"/lost/%d\",\"route\":null,\"status\":404,", n
    else printf "\"path\":\"/v1/t%d/%d\",\"route\":\"r%d\",\"status\":200,", i, n, i
    printf "\"grpc_status\":null,\"bytes_in\":0,\"bytes_out\":1234,\"duration_ms\":3.21,\"cluster\":\"core\","
    printf "\"upstream\":\"127.0.0.1:1\",\"upstream_ms\":2.9,\"attempts\":1,\"cache\":null,\"subject\":\"u%d\",", n % 10000
    if (lost) print "\"answered_by\":\"edge\",\"reason\":\"route_not_found\",\"detail\":null}"
    else print "\"answered_by\":\"upstream\",\"reason\":null,\"detail\":null}"
  }
}' >"$work/access.log"
gzip --fast --keep "$work/access.log"

measure() { # log
  local begin end peak=0 now status=0
  begin=$(date +%s.%N)
  "$palisade" diff "$work/old" "$work/new" --replay "$1" >"$work/result" &
  local pid=$!
  # The high-water mark only grows, so the last look is the one that counts.
  while now=$(awk '/VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
    peak=$now
    sleep 0.02
  done
  wait "$pid" || status=$?
  end=$(date +%s.%N)
  [ "$status" -le 1 ] || { printf 'replay: exit code %s\n' "$status" >&2; exit 1; }
  awk -v log_file="${1##*/}" -v bytes="$(stat -c %s "$1")" -v lines="$lines" -v begin="$begin" -v end="$end" -v peak="$peak" 'BEGIN {
    time = end - begin
    printf "%-14s %.0f MiB, %d lines: %.2f s, %.0f lines/s, peak memory %.1f MiB\n", log_file, bytes / 1048576, lines, time, lines / time, peak / 1024
  }'
}

measure "$work/access.log"
measure "$work/access.log.gz"
grep -A 8 'would be decided otherwise' "$work/result"
