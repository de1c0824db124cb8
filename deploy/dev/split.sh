#!/usr/bin/env bash
# Start everything as it runs past one machine: PostgreSQL, Redis and NATS on free ports, two processes of each
# core service, the edge before them. Wait until all are ready, stop all on Ctrl-C.
#   split.sh BINARIES STATE CERTS
# What the servers keep stays in STATE/split between runs.
set -euo pipefail
binaries=$1 state=$2 certs=$3
https=${PALISADE_HTTPS:-127.0.0.1:8443}
http=${PALISADE_HTTP:-127.0.0.1:8080}
admin=${PALISADE_ADMIN:-127.0.0.1:9901}
services=(identity)
replicas=2

binaries=$(realpath "$binaries")
mkdir -p "$state/split"
chmod 700 "$state" "$state/split"
split=$(realpath "$state/split")
logs="$split/logs"
mkdir -p "$logs"
source "$(dirname "$0")/processes.sh"
"$binaries/palisade" certs "$certs"
certs=$(realpath "$certs")

free_port() { # the next one that nobody listens on
  port=${port:-15432}
  until ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  printf -v "$1" '%s' "$port"
  port=$((port + 1))
}

newest() { # program of PostgreSQL; Debian keeps them outside the path
  local found
  found=$(compgen -G "/usr/lib/postgresql/*/bin/$1" | sort -V | tail -n 1)
  printf '%s' "${found:-$(command -v "$1")}"
}

# PostgreSQL refuses to run as root.
as_postgres=()
owner=$(id -un)
if [ "$(id -u)" -eq 0 ]; then
  as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups --)
  owner=postgres
fi

secret() { # name: made once, readable to us alone
  local file="$split/$1"
  [ -s "$file" ] || (umask 077 && head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$file")
  cat "$file"
}

start_postgres() {
  local data=$postgres_home/data
  # Where STATE was removed its passwords are gone, and what they open goes with it.
  [ -s "$split/postgres-password" ] || rm -rf "$postgres_home"
  # A folder that its user can reach, whoever owns the folders above it.
  mkdir -p "$postgres_home"
  [ "$owner" = "$(id -un)" ] || chown "$owner" "$postgres_home"
  if [ ! -d "$data" ]; then
    (cd / && "${as_postgres[@]}" "$(newest initdb)" -D "$data" --username=postgres --encoding=UTF8 --locale=C \
      --auth-local=trust --auth-host=scram-sha-256 >"$logs/initdb.log" 2>&1) || fail "initdb failed, see $logs/initdb.log"
  fi
  start postgres env -C / "${as_postgres[@]}" "$(newest postgres)" -D "$data" -h 127.0.0.1 -p "$postgres_port" -k "$postgres_home"
  wait_until postgres "$(newest pg_isready)" -q -h 127.0.0.1 -p "$postgres_port"
  printf "ALTER ROLE postgres PASSWORD '%s';\n" "$(secret postgres-password)" |
    "$(newest psql)" -Xq -v ON_ERROR_STOP=1 -h "$postgres_home" -p "$postgres_port" -U postgres
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port postgres_port
free_port redis_port
free_port nats_port
postgres_home=$split/postgres
[ "$owner" = "$(id -un)" ] || postgres_home=/var/tmp/palisade-split-$(printf '%s' "$split" | cksum | cut -d ' ' -f 1)

start_postgres
mkdir -p "$split/redis"
start redis redis-server --bind 127.0.0.1 --port "$redis_port" --dir "$split/redis" --save "" --appendonly yes
wait_until redis listens "$redis_port"
nats=$(command -v nats-server || printf /usr/sbin/nats-server)
start nats "$nats" -a 127.0.0.1 -p "$nats_port" -js -sd "$split/nats"
wait_until nats listens "$nats_port"

# One key ring for all: what one replica seals the others open.
[ -s "$split/keyring" ] || (umask 077 && printf 'k1:%s\n' "$(head -c 32 /dev/urandom | base64)" >"$split/keyring")
export CORE_KEYRING_FILE="$split/keyring" NATS_URL="nats://127.0.0.1:$nats_port" REDIS_URL="redis://127.0.0.1:$redis_port"
for service in "${services[@]}"; do
  name=${service^^}
  export "DATABASE_URL__${name//-/_}=postgres://$service:$(secret "$service-password")@127.0.0.1:$postgres_port/$service"
done
DATABASE_ADMIN_URL="postgres://postgres:$(secret postgres-password)@127.0.0.1:$postgres_port/postgres" \
  "$binaries/palisade-core" migrate "$(IFS=,; printf '%s' "${services[*]}")" >"$logs/migrate.log"

# The policies that ship, with the addresses of these processes.
rm -rf "$split/policies"
cp -r policies "$split/policies"
mkdir -p "$split/certs"
ln -sfn "$certs" "$split/certs/dev"
first_admin=
for service in "${services[@]}"; do
  endpoints=
  for ((replica = 1; replica <= replicas; replica++)); do
    free_port grpc_port
    free_port admin_port
    start "$service-$replica" "$binaries/palisade-core" serve "$service" --grpc "127.0.0.1:$grpc_port" \
      --admin "127.0.0.1:$admin_port" --data-dir "$split/$service-$replica" --drain-delay 0s \
      --tls-cert "$certs/mesh/$service.pem" --tls-key "$certs/mesh/$service.key" --tls-ca "$certs/ca.pem"
    wait_ready "$service-$replica" "http://127.0.0.1:$admin_port/ready"
    endpoints+="${endpoints:+, }\"127.0.0.1:$grpc_port\""
    first_admin=${first_admin:-$admin_port}
    shown+="  $service   grpc 127.0.0.1:$grpc_port  http://127.0.0.1:$admin_port   /metrics /health /ready"$'\n'
  done
  sed -i "s|\"127.0.0.1:50051\"|$endpoints|; s|core\.palisade\.internal|$service.palisade.internal|" "$split/policies/clusters.yaml"
done
sed -i "s|127.0.0.1:8100|127.0.0.1:$first_admin|" "$split/policies/issuers.yaml"

start edge "$binaries/palisade" run --policies "$split/policies" --certs "$certs" --https "$https" --http "$http" \
  --admin "$admin" --state "$split/edge"
wait_ready edge "http://$admin/readyz"

cat <<TEXT

Palisade is running, split.
  https    https://localhost:${https##*:}   (HTTP/1.1, HTTP/2, HTTP/3)
  admin    http://$admin   /metrics /livez /readyz /policy /explain
${shown%$'\n'}
  postgres 127.0.0.1:$postgres_port   redis 127.0.0.1:$redis_port   nats 127.0.0.1:$nats_port
  policies $split/policies   (a copy with these addresses; edits are taken up)
  logs     $logs

Ctrl-C stops all of it.
TEXT
watch_all
