#!/bin/sh
# weir poll serve beside nginx: votes a second, results pages a second, a memcached killed under load, memory of 10 000
# connections. Needs memcached, nginx (nginx-light), wrk and python3; everything is on loopback and in a temporary folder.
#
#   cargo build --release && sh benches/web.sh target/release/weir
set -eu
weir=$(realpath "${1:?the path of weir}")
cd "$(mktemp -d)"
clean() {
    for pid in ${weir_pid:-} ${cache_pid:-} ${nginx_pid:-}; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$PWD"
}
trap clean EXIT

user=
[ "$(id -u)" -ne 0 ] || user="-u nobody"
memcached -l 127.0.0.1 -p 23461 -M -m 256 $user &
cache_pid=$!
export WEIR_MEMCACHED=127.0.0.1:23461 WEIR_DATABASE="sqlite:$PWD/polls.sqlite" WEIR_SPOOL="$PWD/spool"
"$weir" poll create free --question 'Now or later?' --choice yes=Now --choice no=Later --once none >served
"$weir" poll serve --listen 127.0.0.1:23462 --rate-limit 0 >served 2>log &
weir_pid=$!
until grep -q listening served; do sleep 0.1; done
sleep 3
mkdir www
python3 - <<'END'
import urllib.request
page = urllib.request.urlopen("http://127.0.0.1:23462/polls/free/results").read()
open("www/results.html", "wb").write(page)
END
cat >nginx.conf <<END
daemon off; worker_processes 1; pid nginx.pid; error_log nginx.log;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; types { text/html html; }
  client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
  server { listen 127.0.0.1:23463; root $PWD/www; location /votes { return 204; } }
}
END
chmod 755 . www
nginx -p . -c nginx.conf -e nginx.log &
nginx_pid=$!
cat >vote.lua <<'END'
wrk.method = "POST"
wrk.body = '{"choices":["yes"]}'
wrk.headers["Content-Type"] = "application/json"
END
sleep 1
load() { echo "$1"; shift; wrk -t1 -c64 --latency "$@" | grep -E '50%|99%|Requests/sec|Non-2xx|Socket'; }
votes=http://127.0.0.1:23462/api/v1/polls/free/votes
load 'nginx, 204 to each vote' -d10s -s vote.lua http://127.0.0.1:23463/votes
load 'weir, votes' -d10s -s vote.lua "$votes"
load 'nginx, the results page as a file' -d8s http://127.0.0.1:23463/results.html
load 'weir, the results page' -d8s http://127.0.0.1:23462/polls/free/results
python3 - "$weir_pid" <<'END'
import resource, socket, sys, time
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 12000), limit))
def told(what):
    lines = open(f"/proc/{sys.argv[1]}/status").read().splitlines()
    print(what, [line.split(None, 1)[1] for line in lines if line.startswith("VmRSS")][0])
told("memory before")
for what, path in (("say nothing", ""), ("follow results", "/polls/free/events"), ("asked for a page", "/polls/free")):
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() if path else b""
    clients = []
    for _ in range(10000):
        client = socket.create_connection(("127.0.0.1", 23462))
        client.sendall(request)
        clients.append(client)
    for client in clients:
        if request:
            client.recv(65536)
    time.sleep(3)
    told(f"10000 connections that {what}")
    for client in clients:
        client.close()
    time.sleep(3)
END
(sleep 4; kill -9 $cache_pid) &
load 'weir, votes, memcached killed after 4 s' -d10s -s vote.lua "$votes"
kill $weir_pid
wait $weir_pid || echo "weir ended with $?"
weir_pid=
"$weir" poll verify free
