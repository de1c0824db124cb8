# Runs one server, and ends it when told to or when whoever started it is gone.
#   guard.sh FOLDER PROGRAM ARGUMENTS…
# Standard input: lines `pause`, `resume`, `kill`, each answered by `done`. Its end, which comes
# however the test process dies, means `kill`; the folder goes as well then.
folder=$1
shift
# What the kernel sends to a group with a paused member when the test process dies.
trap '' HUP
"$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
echo "$server"

# PostgreSQL's backends are sessions of their own: a signal to the group misses them.
family() { cat "/proc/$server/task/$server/children" 2>/dev/null; }

finish() {
  kill -STOP "$server" 2>/dev/null
  # shellcheck disable=SC2046
  kill -KILL $(family) "$server" 2>/dev/null
  wait "$server" 2>/dev/null
}

while read -r order; do
  case $order in
    # The server first, so that no child is born in between.
    pause) kill -STOP "$server"; kill -STOP $(family) 2>/dev/null ;;
    resume) kill -CONT $(family) 2>/dev/null; kill -CONT "$server" ;;
    kill) finish; echo 'done'; exit 0 ;;
  esac
  echo 'done'
done
finish
rm -rf "$folder"
