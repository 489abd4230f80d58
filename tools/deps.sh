#!/usr/bin/env bash
# Installs the Debian packages whose programs the tests and the bench start, as far as they are not there. It starts
# no service, makes no database cluster, and changes nothing else. Where there is no apt-get, or no right to use it, it says what is missing.
set -euo pipefail

# program:package
wanted=(
	nginx:nginx
	haproxy:haproxy
	lighttpd:lighttpd
	apache2:apache2-bin
	wrk:wrk
	h2load:nghttp2-client
	curl:curl
	wget:wget
	strace:strace
	chromium:chromium
	psql:postgresql
	redis-server:redis-server
	redis-cli:redis-tools
	nc:netcat-openbsd
	ssh-keyscan:openssh-client
	cgi-fcgi:libfcgi-bin
	node:nodejs
	systemd-analyze:systemd
	systemd-socket-activate:systemd
)
# What is no program in PATH, because it is a module, or has its version in its name.
wanted_files=(
	"/usr/lib/postgresql/*/bin/postgres:postgresql"
	"/usr/sbin/php-fpm*:php-fpm"
	"/usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream"
	"/usr/share/nodejs/ws/package.json:node-ws"
)

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # Debian keeps servers out of an ordinary user's PATH
missing=()
for entry in "${wanted[@]}"; do
	command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
done
for entry in "${wanted_files[@]}"; do
	compgen -G "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
done
if [ ${#missing[@]} -eq 0 ]; then
	echo "deps: every program is there"
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "deps: not there: ${missing[*]}; no apt-get here, please install them by your system's means" >&2
	exit 0
fi
root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
		echo "deps: not there: ${missing[*]}; run \"sudo tools/deps.sh\" to install them" >&2
		exit 0
	fi
	root=(sudo)
fi

# Debian's packages start their server when they are installed, unless policy-rc.d exits with 101. An administrator's
# own says what it says again afterwards.
policy=/usr/sbin/policy-rc.d
answer=0
undo=() # commands
trap 'for command in "${undo[@]}"; do eval "$command"; done' EXIT
if [ -x $policy ]; then
	"${root[@]}" $policy nginx start >/dev/null 2>&1 || answer=$?
fi
if [ $answer -ne 101 ]; then
	undo+=('"${root[@]}" rm -f $policy')
	if [ -e $policy ]; then
		"${root[@]}" mv $policy $policy.before-millrace
		undo+=('"${root[@]}" mv $policy.before-millrace $policy')
	fi
	printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
	"${root[@]}" chmod 755 $policy
fi

# PostgreSQL's package makes a cluster when it is installed first, which would be started with the machine. Its settings
# are read from this folder too.
clusters=/etc/postgresql-common/createcluster.d
no_cluster=$clusters/millrace-deps.conf
case " ${missing[*]} " in *" postgresql "*)
	"${root[@]}" mkdir -p $clusters
	undo+=('"${root[@]}" rm -f $no_cluster')
	echo "create_main_cluster = false" | "${root[@]}" tee $no_cluster >/dev/null
	;;
esac

echo "deps: installing ${missing[*]}"
# A new machine may be about to update itself, and mirrors fail now and then.
patient=(-o DPkg::Lock::Timeout=600 -o Acquire::Retries=5)
"${root[@]}" apt-get update -qq "${patient[@]}"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${patient[@]}" "${missing[@]}"
