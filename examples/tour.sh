#!/bin/sh
# A tour of weir's polls on embedded defaults: builds weir, then creates a poll, votes, flushes, shows results and
# verifies them. Everything happens in a temporary folder; the only server is a memcached of the tour's own, and
# where memcached is not installed the tour shows what weir does without it.
#
#   sh examples/tour.sh
set -eu
cd "$(dirname "$0")/.."
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ weir %s\n' "$*"; "$weir" "$@"; }

say "Building weir"
cargo build --release --quiet
weir=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/weir

dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT INT TERM
export WEIR_DATABASE="sqlite:$dir/polls.sqlite" WEIR_SPOOL="$dir/spool" WEIR_CONFIG= XDG_CONFIG_HOME="$dir"

if memcached=$(PATH="$PATH:/usr/sbin:/usr/bin" command -v memcached); then
    # A random port may be taken, so up to ten are tried.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        port=$(awk -v seed="$$$(date +%N)" 'BEGIN { srand(seed); print 20000 + int(rand() * 30000) }')
        as=
        [ "$(id -u)" -ne 0 ] || as="-u nobody"
        "$memcached" -l 127.0.0.1 -p "$port" -M -m 256 $as 2>/dev/null &
        server=$!
        sleep 0.3
        kill -0 "$server" 2>/dev/null && break
        server=
    done
    export WEIR_MEMCACHED="127.0.0.1:$port"
    say "memcached listens on 127.0.0.1:$port"
else
    export WEIR_MEMCACHED="127.0.0.1:1"
    say "memcached is not installed: weir falls back to the database, and says so"
fi

say "Create a poll"
run poll create now --question 'Now or later?' --choice now=Now --choice later='A little later'

say "Vote: the receipt says where the ballot is"
run poll vote now now
run poll vote now later --voter ann@example.org

say "A second vote by the same voter is refused, with exit code 3"
run poll vote now now --voter ann@example.org || echo "exit code $?"

say "100 000 votes from a file"
awk 'BEGIN { for (n = 0; n < 100000; n++) print "now\t" (n % 3 ? "now" : "later") }' > "$dir/votes.tsv"
run poll vote --batch "$dir/votes.tsv"

say "Flush: everything queued goes into the database, each ballot once"
if [ -n "$server" ]; then
    run poll flush
    run poll flush
else
    # Nothing is queued here, and the server that is away is worth an exit code to a cron job.
    run poll flush || { [ $? -eq 4 ] && echo "exit code 4: a server could not be asked"; }
fi

say "Results"
run poll results now

say "Verify: recount the ballots and compare with the tallies"
run poll verify now

total=$("$weir" poll results now --json | sed 's/.*"total":\([0-9]*\).*/\1/')
[ "$total" = 100002 ] || { echo "the tour counted $total ballots instead of 100002" >&2; exit 1; }
say "The tour is over: 100002 ballots, each counted once"
