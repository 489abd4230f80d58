#!/usr/bin/env bash
# Counts the system calls a proxy makes a request: attaches strace to its processes while h2load sends requests over
# kept connections. The proxy runs several times slower meanwhile, so the share of epoll_wait is not that of real
# load; the calls that belong to a request are.
#
#   bench/strace.sh [-n REQUESTS] [-c CONNECTIONS] URL PID...
#
# Needs strace, h2load, and the right to trace the processes (root, or the same user and ptrace_scope 0).
set -euo pipefail

usage() {
	echo "usage: $0 [-n REQUESTS] [-c CONNECTIONS] URL PID..." >&2
	exit 2
}

requests=100000
connections=64
while getopts n:c: option; do
	case $option in
	n) requests=$OPTARG ;;
	c) connections=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
url=$1
shift

dir=$(mktemp -d)
tracer=
cleanup() {
	[ -z "$tracer" ] || kill "$tracer" 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

load() { # REQUESTS: fails unless every one succeeds
	h2load --h1 -t 1 -c "$connections" -n "$1" "$url" >"$dir/load"
	grep -q "^requests: $1 total, .* $1 succeeded, 0 failed" "$dir/load" || {
		echo "not every request succeeded:" >&2
		grep -E '^(requests|status codes):' "$dir/load" >&2
		exit 1
	}
}

load "$((connections * 20))" # fills the proxy's pool of backend connections

strace -c -f -qq -o "$dir/calls" $(printf -- '-p %s ' "$@") 2>"$dir/errors" &
tracer=$!
for pid; do
	for ((i = 0; ; i++)); do
		[ "$(awk '/^TracerPid:/ { print $2 }' "/proc/$pid/status")" = 0 ] || break
		if ! kill -0 "$tracer" 2>/dev/null || [ "$i" -ge 100 ]; then
			echo "strace could not attach to $pid:" >&2
			cat "$dir/errors" >&2
			exit 1
		fi
		sleep 0.05
	done
done

load "$requests"
kill -TERM "$tracer" # writes its summary and detaches
wait "$tracer" || true
tracer=

# Summary lines: % time, seconds, usecs/call, calls, [errors], name.
awk -v requests="$requests" '
	$1 ~ /^[0-9.]+$/ && $NF != "total" { printf "%10.4f  %s\n", $4 / requests, $NF; sum += $4 }
	END {
		if (sum == 0) {
			print "no calls were seen: these are not the processes that serve the requests" >"/dev/stderr"
			exit 1
		}
		printf "%10.4f  in all, a request (%d requests)\n", sum / requests, requests
	}
' "$dir/calls" | sort -k1,1 -rn
