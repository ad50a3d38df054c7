#!/bin/sh
# Makes 1 000 000 paths and a list of 1 000 rules in a temporary directory and times `weir rules explain`.
# Usage: benches/rules.sh path/to/weir
set -eu
weir=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# A tree of 100 applications in the order of a walk, 8 directories each, 1 250 files in each directory.
awk 'BEGIN {
    split("c h o py pyc txt log html css js png jpg md so a tmp", ext, " ")
    for (app = 0; app < 100; app++) for (sub_dir = 0; sub_dir < 8; sub_dir++) for (file = 0; file < 1250; file++)
        printf "apps/app%03d/share%d/module%d/file-%04d.%s\n", app, sub_dir, file % 5, file, ext[file % 16 + 1]
}' >"$dir/walk"
shuf --random-source=/dev/zero "$dir/walk" >"$dir/shuffled"

# 1 000 rules of every kind: anchored literals, wildcards in one directory, names, suffixes, classes, `**`.
awk 'BEGIN {
    for (i = 0; i < 250; i++) printf "+ /apps/app%03d/share%d/module%d/keep-%d/\n", i % 120, i % 8, i % 5, i
    for (i = 0; i < 200; i++) printf "- /apps/app%03d/share%d/module%d/*.x%d\n", i % 120, i % 8, i % 5, i
    for (i = 0; i < 150; i++) printf "- *.e%d\n", i
    for (i = 0; i < 100; i++) printf "- cache-%d/\n", i
    for (i = 0; i < 100; i++) printf "- **/build%d/**/out\n", i
    for (i = 0; i < 100; i++) printf "- core[0-9]-%d*\n", i
    for (i = 0; i < 60; i++) printf "- module%d/tmp%d/*\n", i % 5, i
    for (i = 0; i < 37; i++) printf "- /apps/app%03d/share%d/\n", i * 3, i % 8
    print "- *.tmp\n- *.pyc\n- *.[oa]"
}' >"$dir/list"
wc -l "$dir/walk" "$dir/list"

for paths in walk shuffled; do
    for run in 1 2 3 4 5; do
        begun=$(date +%s.%N)
        "$weir" --quiet rules explain --only-sent "$dir/list" <"$dir/$paths" >"$dir/out"
        ended=$(date +%s.%N)
        echo "$paths run $run: $(echo "$ended - $begun" | bc) s, $(wc -l <"$dir/out") sent"
    done
done
