#!/bin/sh
# A fleet in a temporary folder: one shared tree, three hosts, a list for each, and one command that gives each host
# exactly what its list says. The destinations are folders here; on a real fleet they are `{host}:/local`.
#
#   sh examples/fleet.sh          needs weir and rsync in the PATH
set -eu
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ weir %s\n' "$*"; weir "$@"; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
cd "$dir"
for name in bin lib var etc share/vim share/emacs sbin; do
    mkdir -p "export/apps/$name"
    echo "$name" >"export/apps/$name/file"
done
mkdir lists fleet

say "A list for each host, made out of the paths that it needs"
weir rules from-paths apps/bin/ apps/lib/ apps/share/vim/ >lists/web1-exclude-list.txt
weir rules from-paths apps/bin/ apps/share/ >lists/web2-exclude-list.txt
weir rules from-paths apps/etc/ apps/sbin/ >lists/db1-exclude-list.txt
run rules check --lists lists

say "What would be done"
run sync --dry-run --lists lists --host web1 export/apps fleet/web1

say "All of them, two at a time, with a log for each"
printf 'db1\n' >databases
run sync --lists lists --hosts web1,web2,@databases --parallel 2 --log-dir logs export/apps 'fleet/{host}'
find fleet -type f | sort

say "A list that hides too much is refused before anything is touched, and the others go on"
mkdir -p fleet/web2/apps/bin
seq -f 'fleet/web2/apps/bin/%g' 200 | xargs touch
run sync --lists lists --hosts web1,web2 export/apps 'fleet/{host}' || echo "exit code $?"

say "The logs"
cat logs/db1.log
