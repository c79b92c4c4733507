# SPDX-License-Identifier: MIT
# For suites, which are shell scripts in the guest: they print TAP, and more lines behind "#".

# Runs a command; passes when that succeeds. Its output is shown when it doesn't.
check() {
	name=$1
	shift
	if "$@" >/tmp/check 2>&1; then
		echo "ok - $name"
	else
		echo "not ok - $name: status $?"
		tail -n 30 /tmp/check | sed 's/^/# /'
		return 1
	fi
}

# Runs a program that prints TAP by itself; one that dies without a "not ok" is a failure too.
tap() {
	{ "$@" 2>&1; echo $? >/tmp/tap.status; } | tee /tmp/tap
	status=$(cat /tmp/tap.status)
	[ $status = 0 ] || grep -q '^not ok' /tmp/tap || echo "not ok - $*: status $status"
	[ $(grep -cE '^(not )?ok' /tmp/tap) = "$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' /tmp/tap)" ] || echo "not ok - $*: not as many as planned"
}

# `user COMMAND...`: as an ordinary member of group winapi, with the RLIMIT_MEMLOCK that is usual today.
user() {
	(ulimit -l 8192 && exec su -s /bin/sh tester -c "exec $*")
}

# What a test in a machine counted: "figure NAME VALUE UNIT", gated in tests/vm/suites.py.
figure() {
	echo "# figure $1 $2 $3"
}

# Another back-end, from the words of its command line; its predecessor is killed. Returns when it serves.
start() {
	connections=$(vmport connections)
	vmport host kill
	vmport host start "$@"
	while [ "$(vmport connections)" = "$connections" ]; do usleep 20000; done
}

# Returns when /dev/winapi is there and a call on it succeeds. What udev does elsewhere is done here.
ready() {
	tries=0
	until [ -c /dev/winapi ] && chgrp winapi /dev/winapi && chmod 660 /dev/winapi && winapi echo x >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt 3000 ] || { echo "not ok - the device comes back"; return 1; }
		usleep 20000
	done
}

# reload PARAMETER=VALUE...
reload() {
	rmmod winapi_client && insmod /modules/winapi_client.ko "$@" && ready
}
