#!/usr/bin/env bash
# What identity's calls cost on SQLite and on PostgreSQL, as Markdown; progress on standard error.
#   loadtest/identity/run.sh [SECONDS] [PROFILE]
# SECONDS is the length of each of the 36 measurements (10). Needs PostgreSQL, as the tests do, and
# a machine that does nothing else. Databases are in TMPDIR: on a disk, or commits cost nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-10} profile=${2:-release}

cargo build --locked --profile "$profile" --bin palisade-core --bin identity-load
[ "$profile" = dev ] && folder=debug || folder=$profile
exec "target/$folder/identity-load" --seconds "$seconds" "target/$folder/palisade-core"
