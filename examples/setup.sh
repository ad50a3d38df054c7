#!/bin/sh
# Sets up what weir's polls need on a Debian host: a MariaDB database with a user that can do no more than it must, a
# memcached that never evicts, and a configuration file with a voter secret. Run it as root; run again, it changes nothing
# that is right.
#
#   apt-get install memcached mariadb-server
#   sh examples/setup.sh
#
# Each of these may be set in the environment:
#   MARIADB         how to reach the server as its administrator     (mariadb)
#   DATABASE        the database, which is also the user's name      (weir)
#   DATABASE_HOST   where weir reaches the server                    (127.0.0.1:3306)
#   DATABASE_FROM   from where the user may come                     (127.0.0.1)
#   MEMCACHED       the servers, host:port or unix:/path, separated by commas (127.0.0.1:11211)
#   MEMCACHED_CONF  this host's memcached configuration              (/etc/memcached.conf)
#   MEMCACHED_MIB   how much memory it gets, in MiB                  (256)
#   RESTART         how it is restarted                              (systemctl restart memcached)
#   WEIR_TOML       the configuration file to write                  (/etc/weir/weir.toml)
#   WEIR_USER       who runs weir, and alone may read the file       (weir)
#   STATE_DIR       where spooled votes lie                          (/var/lib/weir)
set -eu

: "${MARIADB:=mariadb}" "${DATABASE:=weir}" "${DATABASE_HOST:=127.0.0.1:3306}" "${DATABASE_FROM:=127.0.0.1}"
: "${MEMCACHED:=127.0.0.1:11211}" "${MEMCACHED_CONF:=/etc/memcached.conf}" "${MEMCACHED_MIB:=256}"
: "${RESTART:=systemctl restart memcached}" "${WEIR_TOML:=/etc/weir/weir.toml}" "${WEIR_USER:=weir}"
: "${STATE_DIR:=/var/lib/weir}"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# These go into SQL and TOML between quotes.
case $MEMCACHED in *[!A-Za-z0-9._:,%/-]*|'') fail "MEMCACHED=$MEMCACHED: only letters, digits and . _ : , % / - are taken here" ;; esac
for value in "$DATABASE" "$DATABASE_FROM" "$DATABASE_HOST"; do
    case $value in *[!A-Za-z0-9._:,%-]*|'') fail "$value: only letters, digits and . _ : , % - are taken here" ;; esac
done

getent passwd "$WEIR_USER" >/dev/null || {
    useradd --system --user-group --home-dir "$STATE_DIR" --shell /usr/sbin/nologin "$WEIR_USER"
    say "made the user $WEIR_USER"
}
[ -d "$STATE_DIR" ] || install -d -o "$WEIR_USER" -m 750 "$STATE_DIR"

# memcached: an error instead of an eviction, and a fixed size.
if [ -f "$MEMCACHED_CONF" ]; then
    new=$(mktemp)
    grep -Ev '^-(M|m)( |$)' "$MEMCACHED_CONF" > "$new" || true
    printf -- '-M\n-m %s\n' "$MEMCACHED_MIB" >> "$new"
    if cmp -s "$new" "$MEMCACHED_CONF"; then
        say "$MEMCACHED_CONF is right"
    else
        cp -p "$MEMCACHED_CONF" "$MEMCACHED_CONF.before-weir"
        cat "$new" > "$MEMCACHED_CONF"
        say "$MEMCACHED_CONF: memcached gets $MEMCACHED_MIB MiB and -M (before: $MEMCACHED_CONF.before-weir)"
        $RESTART
    fi
    rm -f "$new"
else
    say "no $MEMCACHED_CONF here: start memcached elsewhere with -M and -m $MEMCACHED_MIB"
fi

if [ -e "$WEIR_TOML" ]; then
    say "$WEIR_TOML is there already: the database and its password are left as they are"
    exit 0
fi

password=$(secret)
$MARIADB <<SQL
CREATE DATABASE IF NOT EXISTS \`$DATABASE\` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS '$DATABASE'@'$DATABASE_FROM' IDENTIFIED BY '$password';
ALTER USER '$DATABASE'@'$DATABASE_FROM' IDENTIFIED BY '$password';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX ON \`$DATABASE\`.* TO '$DATABASE'@'$DATABASE_FROM';
SQL
say "database $DATABASE, user '$DATABASE'@'$DATABASE_FROM'"

mkdir -p "$(dirname "$WEIR_TOML")"
new=$(mktemp "$WEIR_TOML.XXXXXX")
cat > "$new" <<TOML
[poll]
memcached = "$MEMCACHED"
database = "mysql://$DATABASE:$password@$DATABASE_HOST/$DATABASE"
# The same on every host that takes votes: what voters' names are hashed with. Changed, voters could vote again.
voter-secret = "$(secret)"
TOML
chown "$WEIR_USER" "$new"
chmod 400 "$new"
mv "$new" "$WEIR_TOML"
say "wrote $WEIR_TOML: copy it to the other hosts that take votes"
say "now, as $WEIR_USER: weir poll status; then see examples/systemd or examples/weir.crontab"
