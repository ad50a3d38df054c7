#!/bin/sh
# Measures weir's polls beside what people would use instead, all in one run on this machine, and prints ratios.
#
#   sh benches/poll.sh                      everything
#   sh benches/poll.sh writers backlog      these parts: one batch flush writers backlog gaps
#   VOTES=100000 SECONDS_EACH=5 WRITERS='1 16' BACKLOG=2000000 sh benches/poll.sh
#
# Needs memcached, mariadb-server, redis-server, redis-tools, beanstalkd and hyperfine from Debian's packages, jq and
# python3. Every server is its own, on a free loopback port, and ended afterwards.
set -eu
cd "$(dirname "$0")/.."
# Not both at once: with an example come the dev-dependencies, which build weir with its failpoints.
cargo build --release --quiet --example vote_writers
cargo build --release --quiet --bin weir
weir=$PWD/target/release/weir
race=$PWD/target/release/examples/vote_writers
votes=${VOTES:-1000000}
seconds=${SECONDS_EACH:-2}
writers=${WRITERS:-1 4 16 64}
backlog=${BACKLOG:-10000000}
parts=${*:-one batch flush writers backlog gaps}
dir=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
PATH=$PATH:/usr/sbin
port() { perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen=>1,LocalAddr=>"127.0.0.1")->sockport'; }
as_root() { [ "$(id -u)" -ne 0 ] || echo "$1"; }
wanted() { case " $parts " in *" $1 "*) true ;; *) false ;; esac; }

mc=$(port)
memcached -l 127.0.0.1 -p "$mc" -M -m 4096 $(as_root '-u nobody') & pids="$pids $!"
redis=$(port)
redis-server --port "$redis" --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" >/dev/null & pids="$pids $!"
beans=$(port)
beanstalkd -l 127.0.0.1 -p "$beans" & pids="$pids $!"
db=$(port)
mariadb-install-db --no-defaults --datadir="$dir/data" --auth-root-authentication-method=normal $(as_root --user=root) >/dev/null 2>&1
# Durable as it is by default (innodb_flush_log_at_trx_commit=1); only the buffer pool is larger than its 128 MB.
mariadbd --no-defaults --datadir="$dir/data" --port="$db" --bind-address=127.0.0.1 --socket="$dir/s" --local-infile=1 \
    --innodb-buffer-pool-size="${BUFFER_POOL:-512M}" $(as_root --user=root) >/dev/null 2>&1 & pids="$pids $!"
until mariadb --no-defaults -S "$dir/s" -uroot -e 'CREATE DATABASE polls' 2>/dev/null; do sleep 0.2; done
mariadb --no-defaults -S "$dir/s" -uroot -e "CREATE USER w@'127.0.0.1' IDENTIFIED BY 'w'; GRANT ALL ON *.* TO w@'127.0.0.1'"
sql() { mariadb --no-defaults --local-infile=1 -S "$dir/s" -uroot polls "$@"; }
say() { perl -MIO::Socket::INET -e '$s=IO::Socket::INET->new("127.0.0.1:$ARGV[0]"); print $s "$ARGV[1]\r\n"; while (<$s>) { print; last if /^(OK|END|\d)/ }' "$@"; }

export WEIR_MEMCACHED=127.0.0.1:$mc WEIR_DATABASE=mysql://w:w@127.0.0.1:$db/polls WEIR_SPOOL=$dir/spool WEIR_TIMEOUT=10s
$weir poll create now --question 'Now?' --choice yes=Yes --choice no=No >/dev/null
$weir poll vote now yes >/dev/null
ratio() { perl -MJSON::PP -0777 -ne '$r=decode_json($_)->{results}; printf "%s: %.1f ms, %.1f ms, ratio %.2f\n", $ARGV[0] // "median", 1e3*$r->[0]{median}, 1e3*$r->[1]{median}, $r->[0]{median}/$r->[1]{median}' "$1"; }
lines() { perl -e 'for (1..shift) { print "now\t", ($_ % 3 ? "yes" : "no"), "\n" }' "$1"; }
# Runs its arguments and tells the seconds and the most memory resident of it, in MB.
weigh() {
    python3 - "$@" <<'PY'
import resource, subprocess, sys, time
began = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print("%.3f %d" % (time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024))
PY
}

if wanted one; then
echo "== one vote as a whole process"
hyperfine -N --warmup 100 --runs 1000 --export-json "$dir/one.json" \
    "$weir poll vote now yes" \
    "redis-cli -p $redis RPUSH q {\"poll\":\"now\",\"picks\":[\"yes\"]}" >/dev/null 2>&1
ratio "$dir/one.json"
fi

if wanted batch || wanted flush; then
    lines "$votes" > "$dir/votes.tsv"
fi

if wanted batch; then
echo "== a batch of $votes votes"
perl -e 'for (1..shift) { $v = sprintf "{\"poll\":\"now\",\"picks\":[\"%s\"],\"id\":\"%032x\",\"at\":1763870000123}", ($_ % 3 ? "yes" : "no"), $_;
    print "*3\r\n\$5\r\nRPUSH\r\n\$1\r\nq\r\n\$", length $v, "\r\n$v\r\n" }' "$votes" > "$dir/votes.resp"
hyperfine --warmup 1 --runs 5 --export-json "$dir/batch.json" \
    --prepare "printf 'flush_all\r\nquit\r\n' | perl -MIO::Socket::INET -e '\$s=IO::Socket::INET->new(\"127.0.0.1:$mc\"); print \$s <STDIN>; <\$s>'; $weir --quiet poll flush >/dev/null" \
    "$weir poll vote --batch $dir/votes.tsv" \
    --prepare "redis-cli -p $redis flushall" \
    "redis-cli -p $redis --pipe < $dir/votes.resp" >/dev/null 2>&1
ratio "$dir/batch.json"
fi

if wanted flush; then
echo "== flushing $votes votes into MariaDB"
clear="mariadb --no-defaults -S $dir/s -uroot polls -e"
# The same rows in the same table for both: what the flush wrote is what LOAD DATA reads.
$weir poll flush >/dev/null
sql -e 'TRUNCATE ballots'
$weir poll vote --batch "$dir/votes.tsv" >/dev/null
$weir poll flush
sql -N -e "SELECT poll_id, hex(identity), picks, at_ms FROM ballots ORDER BY poll_id, identity" > "$dir/rows.tsv"
cat > "$dir/load.sql" <<SQL
LOAD DATA LOCAL INFILE '$dir/rows.tsv' IGNORE INTO TABLE ballots (poll_id, @id, picks, at_ms) SET identity = unhex(@id);
SQL
hyperfine --runs 5 --export-json "$dir/flush.json" \
    --prepare "$clear 'TRUNCATE ballots'; $weir poll vote --batch $dir/votes.tsv" \
    "$weir poll flush" \
    --prepare "$clear 'TRUNCATE ballots'" \
    "mariadb --no-defaults --local-infile=1 -S $dir/s -uroot polls < $dir/load.sql" >/dev/null 2>&1
ratio "$dir/flush.json"
sql -e 'TRUNCATE ballots'
$weir poll vote --batch "$dir/votes.tsv" >/dev/null
weigh "$weir" poll flush | { read -r _ memory; echo "flush, most memory resident: $memory MB"; }
fi

if wanted writers; then
echo "== votes a second, each writer waiting for its own answer, $seconds s each"
# A server that has nothing left of the run before.
empty() {
    say "$mc" flush_all >/dev/null
    redis-cli -p "$redis" flushall >/dev/null
    "$weir" poll create now --question 'Now?' --choice yes=Yes --choice no=No >/dev/null 2>&1 || true
}
cell() {
    empty
    "$race" "$1" --writers "$2" --seconds "$seconds" --memcached "127.0.0.1:$mc" --timeout-ms 10000 $3 | jq -r "$4"
}
echo "                     $(for w in $writers; do printf '%10s' "$w"; done) writers"
row() {
    printf '%-21s' "$1"
    for w in $writers; do
        got=$(cell "$2" "$w" "$3" "${4:-.votes_per_second|round}")
        echo "$got" > "$dir/$2$5.$w"
        printf '%10s' "$got"
    done
    echo
}
over() {
    printf '%-21s' "$1"
    for w in $writers; do
        perl -e 'printf "%9.2fx", $ARGV[0] / $ARGV[1]' "$(cat "$dir/$2.$w")" "$(cat "$dir/$3.$w")"
    done
    echo
}
row lock lock '' '' ''
row ticket ticket '' '' ''
row 'group commit' group '' '' ''
row redis redis "--peer 127.0.0.1:$redis" '' ''
row 'redis, consumer' redis "--peer 127.0.0.1:$redis --consume" '' +
row beanstalkd beanstalkd "--peer 127.0.0.1:$beans --consume" '' ''
row 'direct inserts' insert "--database $WEIR_DATABASE" '' ''
row 'group, to commit' group "--database $WEIR_DATABASE --flush $weir" '.committed_per_second|round' +
over 'ticket / lock' ticket lock
over 'group / redis' group redis
over 'group / redis, c.' group redis+
over 'group / beanstalkd' group beanstalkd
over 'group / inserts' group insert
over 'committed / inserts' group+ insert
fi

if wanted backlog; then
echo "== flushing a backlog into MariaDB, memory resident at most"
for size in $((backlog / 10)) "$backlog"; do
    "$weir" --quiet poll flush
    sql -e 'TRUNCATE ballots'
    lines "$size" > "$dir/backlog.tsv"
    "$weir" poll vote --batch "$dir/backlog.tsv" >/dev/null
    weigh "$weir" --quiet poll flush | { read -r took memory; perl -e 'printf "%d votes: %.2f s, %d votes/s, %d MB\n", $ARGV[0], $ARGV[1], $ARGV[0] / $ARGV[1], $ARGV[2]' "$size" "$took" "$memory"; }
    [ "$(sql -N -e 'SELECT COUNT(*) FROM ballots')" -eq "$size" ] || { echo "not $size ballots are counted"; exit 1; }
done
fi

if wanted gaps; then
echo "== passing 1 000 000 empty slots"
"$weir" --quiet poll flush
say "$mc" 'incr poll-queue-curr 1000000' >/dev/null
"$weir" poll vote now yes >/dev/null
weigh "$weir" --quiet poll flush | { read -r took memory; echo "$took s, $memory MB"; }
fi
