#!/bin/sh
# Installs what the tests need, then checks the format, lints, and runs every test.
#
#   sh tests/run.sh            everything
#   sh tests/run.sh --install  only install what is missing
set -eu
cd "$(dirname "$0")/.."

# command:package, for Debian and what descends from it.
needs="memcached:memcached mariadbd:mariadb-server mariadb-install-db:mariadb-server mariadb:mariadb-client rsync:rsync openssl:openssl
 ss:iproute2 ps:procps chromium:chromium chromedriver:chromium-driver nginx:nginx-light setpriv:util-linux gzip:gzip cc:gcc"
missing=
for need in $needs; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${need%%:*}" >/dev/null 2>&1 || missing="$missing ${need##*:}"
done
# A library, not a command: what three nodes of MariaDB make a cluster with.
[ -e /usr/lib/galera/libgalera_smm.so ] || missing="$missing galera-4"
if [ -n "$missing" ]; then
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "tests/run.sh: these packages are missing: $missing" >&2
        echo "tests/run.sh: install them (as root: apt-get install $missing) and run this again" >&2
        exit 1
    fi
    echo "tests/run.sh: installing $missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
[ "${1:-}" = --install ] && exit 0

cargo fmt --check
cargo clippy --all-targets --quiet -- -D warnings
cargo test --quiet
