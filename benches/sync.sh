#!/bin/sh
# Makes a tree of 120 000 files, of which a list sends 100 000, and times runs that find nothing to do beside plain
# rsync with the same rules; then eight destinations at once beside `xargs -P 4`. Needs rsync and hyperfine.
# Usage: benches/sync.sh path/to/weir
set -eu
weir=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir -p export/apps local fleet
for of in bin:100 lib:200 share/vim:200 share/emacs:50 var:50; do
    for number in $(seq "${of#*:}"); do
        mkdir -p "export/apps/${of%:*}/d$number"
        for file in $(seq 200); do echo "$file" >"export/apps/${of%:*}/d$number/f$file"; done
    done
done
printf '+ /apps/bin/\n+ /apps/lib/\n+ /apps/share/vim/\n- /apps/share/*\n+ /apps/share/\n- /apps/*\n' >plain
cp plain web-exclude-list.txt
rsync -a --delete-excluded --exclude-from=plain export/apps local

# The fleet's destinations are smaller: a tenth of the tree.
printf '+ /apps/var/\n- /apps/*\n' >small
hosts=
for number in 1 2 3 4 5 6 7 8; do
    cp small "web$number-exclude-list.txt"
    mkdir "fleet/web$number"
    rsync -a --delete-excluded --exclude-from=small export/apps "fleet/web$number"
    hosts="$hosts,web$number"
done
hosts=${hosts#,}
seq -f 'web%g' 8 >hosts

rsync --version | head -1
hyperfine -N --warmup 2 --runs "${RUNS:-15}" --export-json nothing-to-do.json \
    -n plain 'rsync -av --delete-excluded --exclude-from=plain export/apps local' \
    -n no-guard "$weir sync --no-guard --host web export/apps local" \
    -n guard "$weir sync --host web export/apps local" >/dev/null 2>&1
hyperfine --warmup 1 --runs "${RUNS:-15}" --export-json fleet.json \
    -n xargs 'xargs -P 4 -I HOST rsync -av --delete-excluded --exclude-from=HOST-exclude-list.txt export/apps fleet/HOST <hosts' \
    -n fleet "$weir sync --hosts $hosts export/apps fleet/{host}" >/dev/null 2>&1
# One file changes before each run, so that the count is followed by a run.
hyperfine -N --warmup 1 --runs 5 --export-json one-change.json --prepare 'sh -c "date +%N >export/apps/bin/d1/f1"' \
    -n plain 'rsync -av --delete-excluded --exclude-from=plain export/apps local' \
    -n guard "$weir sync --host web export/apps local" >/dev/null 2>&1
for what in nothing-to-do fleet one-change; do
    awk -v what="$what" -F '[:,]' '
        /"command"/ { gsub(/[ "]/, "", $2); name = $2 }
        /"median"/ { if (!first) first = $2; printf "%s: %s: %.0f ms, %.2f of the first\n", what, name, $2 * 1000, $2 / first }
    ' "$what.json"
done
