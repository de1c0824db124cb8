# Starting and stopping what belongs together; read by run.sh and split.sh.
# Wants `logs`, a folder. The one started last is stopped first.

pids=()
names=()

fail() { printf 'run: %s\n' "$1" >&2; exit 1; }

# Whether anything is left of what was started as this process, its replacements included.
alive() { kill -0 -- "-$1" 2>/dev/null; }

stop() {
  trap - EXIT INT TERM
  local index
  for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
    # PostgreSQL would wait for its clients at TERM; INT is its quick and clean end.
    local signal=TERM
    [ "${names[index]}" != postgres ] || signal=INT
    kill "-$signal" -- "-${pids[index]}" 2>/dev/null || true
    # A process that took another's place is no child of this script.
    while alive "${pids[index]}"; do wait "${pids[index]}" 2>/dev/null || true; sleep 0.1; done
  done
  printf 'run: stopped\n'
}
trap 'stop; exit 0' INT TERM
trap stop EXIT

# A session of their own: Ctrl-C reaches the script alone, which stops them in order.
start() { # name, command...
  local name=$1; shift
  setsid "$@" >"$logs/$name.log" 2>"$logs/$name.err" &
  pids+=($!)
  names+=("$name")
}

# Waits for the process that was started last.
wait_until() { # name, command that succeeds when it is ready
  local name=$1 tries=0; shift
  until "$@" 2>/dev/null; do
    kill -0 "${pids[-1]}" 2>/dev/null || { cat "$logs/$name.err" >&2; tail -n 3 "$logs/$name.log" >&2; fail "$name did not start"; }
    tries=$((tries + 1))
    [ $tries -lt 300 ] || fail "$name is not ready after 30 seconds, see $logs/$name.log"
    sleep 0.1
  done
}

wait_ready() { # name, url
  wait_until "$1" curl -fsS -o /dev/null --max-time 1 "$2"
}

# Any of them ending by itself ends the others; to be replaced (kill -USR2) is no end.
watch_all() {
  local index
  while :; do
    for index in "${!pids[@]}"; do
      alive "${pids[index]}" || fail "${names[index]} ended by itself, see $logs"
    done
    sleep 1 &
    wait $! || true
  done
}
