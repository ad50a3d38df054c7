#!/bin/sh
# Measures weir's polls beside what people would use instead, all in one run on this machine, and prints ratios.
#
#   sh benches/poll.sh            all three comparisons
#   VOTES=100000 sh benches/poll.sh
#
# Needs memcached, mariadb-server, redis-server, redis-tools and hyperfine from Debian's packages. Every server is
# its own, on a free loopback port, and ended afterwards.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --quiet
weir=$PWD/target/release/weir
votes=${VOTES:-1000000}
dir=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
PATH=$PATH:/usr/sbin
port() { perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen=>1,LocalAddr=>"127.0.0.1")->sockport'; }
as_root() { [ "$(id -u)" -ne 0 ] || echo "$1"; }

mc=$(port)
memcached -l 127.0.0.1 -p "$mc" -M -m 2048 $(as_root '-u nobody') & pids="$pids $!"
redis=$(port)
redis-server --port "$redis" --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" >/dev/null & pids="$pids $!"
db=$(port)
mariadb-install-db --no-defaults --datadir="$dir/data" --auth-root-authentication-method=normal $(as_root --user=root) >/dev/null 2>&1
mariadbd --no-defaults --datadir="$dir/data" --port="$db" --bind-address=127.0.0.1 --socket="$dir/s" --local-infile=1 \
    --innodb-buffer-pool-size=512M $(as_root --user=root) >/dev/null 2>&1 & pids="$pids $!"
until mariadb --no-defaults -S "$dir/s" -uroot -e 'CREATE DATABASE polls' 2>/dev/null; do sleep 0.2; done
mariadb --no-defaults -S "$dir/s" -uroot -e "CREATE USER w@'127.0.0.1' IDENTIFIED BY 'w'; GRANT ALL ON *.* TO w@'127.0.0.1'"
sql() { mariadb --no-defaults --local-infile=1 -S "$dir/s" -uroot polls "$@"; }

export WEIR_MEMCACHED=127.0.0.1:$mc WEIR_DATABASE=mysql://w:w@127.0.0.1:$db/polls WEIR_SPOOL=$dir/spool WEIR_TIMEOUT=10s
$weir poll create now --question 'Now?' --choice yes=Yes --choice no=No >/dev/null
$weir poll vote now yes >/dev/null

echo "== one vote as a whole process"
hyperfine -N --warmup 100 --runs 1000 --export-json "$dir/one.json" \
    "$weir poll vote now yes" \
    "redis-cli -p $redis RPUSH q {\"poll\":\"now\",\"picks\":[\"yes\"]}" >/dev/null 2>&1
ratio() { perl -MJSON::PP -0777 -ne '$r=decode_json($_)->{results}; printf "%s: %.1f ms, %.1f ms, ratio %.2f\n", $ARGV[0] // "median", 1e3*$r->[0]{median}, 1e3*$r->[1]{median}, $r->[0]{median}/$r->[1]{median}' "$1"; }
ratio "$dir/one.json"

echo "== a batch of $votes votes"
perl -e 'for (1..shift) { print "now\t", ($_ % 3 ? "yes" : "no"), "\n" }' "$votes" > "$dir/votes.tsv"
perl -e 'for (1..shift) { $v = sprintf "{\"poll\":\"now\",\"picks\":[\"%s\"],\"id\":\"%032x\",\"at\":1763870000123}", ($_ % 3 ? "yes" : "no"), $_;
    print "*3\r\n\$5\r\nRPUSH\r\n\$1\r\nq\r\n\$", length $v, "\r\n$v\r\n" }' "$votes" > "$dir/votes.resp"
hyperfine --warmup 1 --runs 5 --export-json "$dir/batch.json" \
    --prepare "printf 'flush_all\r\nquit\r\n' | perl -MIO::Socket::INET -e '\$s=IO::Socket::INET->new(\"127.0.0.1:$mc\"); print \$s <STDIN>; <\$s>'; $weir --quiet poll flush >/dev/null" \
    "$weir poll vote --batch $dir/votes.tsv" \
    --prepare "redis-cli -p $redis flushall" \
    "redis-cli -p $redis --pipe < $dir/votes.resp" >/dev/null 2>&1
ratio "$dir/batch.json"

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
python3 - "$weir" <<'PY' 2>/dev/null || true
import resource, subprocess, sys
subprocess.run([sys.argv[1], "poll", "flush"], check=True, stdout=subprocess.DEVNULL)
print("flush, most memory resident: %d MB" % (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024))
PY
