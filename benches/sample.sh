#!/bin/sh
# Measures `weir sample` beside wc, shuf, awk and the notes' Perl, all in one run, and prints ratios of the fastest
# runs: on a machine that has other work the fastest run is the one that was disturbed least.
#
# usage: benches/sample.sh PATH-OF-WEIR [DIRECTORY]      needs hyperfine, perl, mawk, about 1.3 GB in DIRECTORY
# tsv-sample (of tsv-utils) is measured as well if it is in PATH.
set -eu
weir=$(realpath "$1")
dir=${2:-/tmp/sample-bench}
runs=${RUNS:-10}
mkdir -p "$dir"
cd "$dir"

if [ ! -s log ]; then
    perl -e '
        srand 1; my $bytes = 0; my @status = (200, 200, 200, 304, 404, 500);
        my @path = map { "/path/" . int(rand 1e6) . "/index" . int(rand 100) . ".html" } 1 .. 4096;
        while ($bytes < 1.05e9) {
            my $line = sprintf "10.%d.%d.%d - - [05/Oct/2008:12:%02d:%02d +0000] \"GET %s HTTP/1.1\" %d %d \"-\" \"Mozilla/5.0\"\n",
                rand 256, rand 256, rand 256, rand 60, rand 60, $path[rand 4096], $status[rand 6], rand 50000;
            $bytes += length $line; print $line;
        }' > log
fi
[ -s short ] || seq 10000000 > short
cat > notes.pl <<'PERL'
use strict; my $N = 20; my $k; my @r;
while(<>) { if(++$k <= $N) { push @r, $_; } elsif(rand(1) <= ($N/$k)) { $r[rand(@r)] = $_; } }
print @r;
PERL
printf '%s\n' log log log log log log log log log log > ten
cat log short > /dev/null

# fastest NAME COMMAND [RUNS [OPTIONS]]: the fastest of the runs, in seconds, as a variable of that name; beside it the mean
# processor time, which says more on a machine that is busy.
fastest() {
    # shellcheck disable=SC2086  # the options are words
    hyperfine --style none --warmup 1 --runs "${3:-$runs}" ${4:-} --export-json result.json "$2" > /dev/null 2>&1
    eval "$1=$(perl -0ne 'print $1 if /"min": ([0-9.e-]+)/' result.json)"
    cpu=$(perl -0ne '/"user": ([0-9.e-]+)/ and $u = $1; /"system": ([0-9.e-]+)/ and printf "%.4f", $u + $1' result.json)
    eval "printf '%-22s %8.4f s  processor %8.4f s  %.60s\n' $1 \$$1 $cpu \"\$2\""
}
# ratio TEXT ONE OTHER LIMIT
ratio() {
    awk -v text="$1" -v one="$2" -v other="$3" -v limit="$4" \
        'BEGIN { printf "%-62s %7.3f  (at most %s)\n", text, one / other, limit }'
}

fastest empty_start           "$weir sample /dev/null" 60 -N
fastest random_access         "$weir sample log" 60 -N
fastest random_access_stdin   "sh -c 'exec $weir sample < log'" 60 -N
fastest random_access_10_gb   "$weir sample $(tr '\n' ' ' < ten)" 60 -N
fastest wc_file               "wc -l log" 20 -N
fastest scan_two_threads      "$weir sample --scan --threads 2 log" 20 -N
fastest scan_one_thread       "$weir sample --scan --threads 1 log" 20 -N
fastest wc_pipe               "cat log | wc -l"
fastest pipe                  "cat log | $weir sample"
fastest shuf_file             "shuf -n 20 log" 4
fastest notes_file            "perl notes.pl log" 3
fastest shuf_million          "shuf -n 1000000 short" 4
fastest million_file          "$weir sample -n 1000000 short"
fastest million_pipe          "cat short | $weir sample -n 1000000"
fastest rate                  "$weir sample --rate 0.01 log" 5
fastest awk_rate              "mawk 'BEGIN { srand(1) } rand() < 0.01' log" 2
fastest by                    "$weir sample -n 5 --by 9 -d ' ' log" 5
fastest awk_by                "mawk '{ k = \$9; if (++n[k] <= 5) s[k, n[k]] = \$0; else { j = int(rand() * n[k]) + 1; if (j <= 5) s[k, j] = \$0 } } END { for (i in s) print s[i] }' log" 2
fastest weight                "$weir sample --weight 10 -d ' ' log" 5
fastest awk_weight            "mawk '\$10 > 0 { k = -log(1 - rand()) / \$10; if (m < 20) { key[++m] = k; s[m] = \$0 } else if (k < key[w]) { key[w] = k; s[w] = \$0 } else next; w = 1; for (i = 2; i <= m; i++) if (key[i] > key[w]) w = i } END { for (i in s) print s[i] }' log" 2
if command -v tsv-sample > /dev/null; then
    fastest tsv_file          "tsv-sample -n 20 log" 5
    fastest tsv_million       "tsv-sample -n 1000000 -i short" 4
    fastest tsv_rate          "tsv-sample -p 0.01 log" 5
    fastest tsv_weight        "tsv-sample -d ' ' -w 10 -n 20 log" 4
fi

echo
ratio "random access, file, ms"                    "$random_access"       0.001           10
ratio "random access, standard input, ms"          "$random_access_stdin" 0.001           10
ratio "random access, 10 GB : 1 GB"                "$random_access_10_gb" "$random_access" 1.5
ratio "scan, two threads : wc -l"                  "$scan_two_threads"    "$wc_file"      0.7
ratio "scan, one thread : wc -l"                   "$scan_one_thread"     "$wc_file"      1.0
ratio "pipe : cat | wc -l"                         "$pipe"                "$wc_pipe"      1.0
ratio "scan : shuf -n 20"                          "$scan_two_threads"    "$shuf_file"    0.2
ratio "scan : the notes' Perl"                     "$scan_two_threads"    "$notes_file"   0.2
ratio "a million of ten million short lines : shuf" "$million_file"       "$shuf_million" 0.5
ratio "the same from a pipe : shuf"                "$million_pipe"        "$shuf_million" 0.5
ratio "--rate 0.01 : awk"                          "$rate"                "$awk_rate"     1.0
ratio "--by : awk"                                 "$by"                  "$awk_by"       1.0
ratio "--weight : awk"                             "$weight"              "$awk_weight"   1.0
if command -v tsv-sample > /dev/null; then
    ratio "scan : tsv-sample"                      "$scan_two_threads"    "$tsv_file"     0.2
    ratio "a million of ten million short lines : tsv-sample" "$million_file" "$tsv_million" 1.0
    ratio "--rate 0.01 : tsv-sample"               "$rate"                "$tsv_rate"     1.0
    ratio "--weight : tsv-sample"                  "$weight"              "$tsv_weight"   1.0
fi

echo
memory() {
    /usr/bin/time -f "%M" -o peak sh -c "$2" > /dev/null 2>&1 || true
    printf '%-62s %7.1f MB (at most %s)\n' "$1" "$(awk 'END { print $1 / 1024 }' peak)" "$3"
}
memory "memory, N = 20, file"                      "$weir sample --scan log" 20
memory "memory, N = 20, pipe"                      "cat log | $weir sample" 20
memory "memory, N = 20, one line of 4 GB, pipe"    "head -c 4294967296 /dev/zero | $weir sample" 20
head -c 4294967296 /dev/zero | tr '\0' x > one-line
memory "memory, N = 20, one line of 4 GB, file"    "$weir sample --scan one-line" 20
rm one-line
perl -e 'print "x" x 7e6, "\n" for 1 .. 100' > long
memory "memory, N = 20, 100 lines of 7 MB, pipe"   "cat long | $weir sample" 20
rm long
memory "memory, a million short lines, file"       "$weir sample -n 1000000 short" 112
memory "memory, a million short lines, pipe"       "cat short | $weir sample -n 1000000" 112
