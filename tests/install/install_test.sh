#!/bin/sh
# SPDX-License-Identifier: MIT
# `meson install` puts everything where it belongs, and a C++ program builds and runs against that.
# Usage: install_test.sh SOURCE BUILD
set -eu

source=$1
build=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
n=0
failed=0

check() { # NAME COMMAND...
	name=$1
	shift
	n=$((n + 1))
	if "$@" >"$root/log" 2>&1; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		sed 's/^/# /' "$root/log"
		failed=1
	fi
}

skip() { # NAME REASON
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# What is said is wrong, too: systemd-analyze ignores what it doesn't understand, with a word and status 0.
silent() { # COMMAND...
	said=$("$@" 2>&1) && [ -z "$said" ] && return
	echo "$said"
	return 1
}

echo 1..13
check "meson install" meson install -C "$build" --no-rebuild --destdir "$root"
pc=$(find "$root" -name winapi.pc)
prefix=$root$(sed -n 's/^prefix=//p' "$pc")
libdir=$(dirname "$(dirname "$pc")")
check "header" test -f "$prefix/include/winapi.h"
check "library with a version in its name" test -f "$libdir/libwinapi.so.0"
check "tools" test -x "$prefix/bin/winapi" -a -x "$prefix/bin/test_client"
check "host" test -x "$prefix/libexec/winapi-hostd"
check "units and sysusers" sh -c "find '$root' -name winapi-hostd.service | grep -q . &&
	find '$root' -name winapi-hostd.socket | grep -q . && find '$root' -path '*sysusers.d*' -name '*.conf' | grep -q ."
# As they are installed, but for the root in front of the program; the manual they name is the installed one.
mkdir "$root/units"
find "$root" -path "$root/units" -prune -o -name 'winapi-hostd.s*' -path '*/systemd/system/*' -exec cp {} "$root/units" ';'
sed -i "s,^ExecStart=,&$root," "$root/units/winapi-hostd.service"
printf '[Service]\nExecStart=/bin/sh\n' >"$root/units/plain.service"
if ! command -v systemd-analyze >/dev/null; then
	skip "systemd takes the units" "no systemd-analyze here (package systemd)"
elif ! systemd-analyze verify "$root/units/plain.service" >/dev/null 2>&1; then
	skip "systemd takes the units" "systemd-analyze verify doesn't work on this machine, not even on a plain unit"
else
	check "systemd takes the units" silent env MANPATH="$prefix/share/man" systemd-analyze verify \
		"$root/units/winapi-hostd.service" "$root/units/winapi-hostd.socket"
fi
# The user and the group that the units name are those that it makes, and it complains of nothing.
sysusers() {
	mkdir -p "$root/empty/etc" &&
		systemd-sysusers --dry-run --root="$root/empty" "$(find "$root" -path '*sysusers.d*' -name winapi.conf)" \
			>"$root/sysusers" 2>&1
	status=$?
	cat "$root/sysusers"
	user=$(sed -n 's/^User=//p' "$root/units/winapi-hostd.service")
	group=$(sed -n 's/^SocketGroup=//p' "$root/units/winapi-hostd.socket")
	[ $status = 0 ] && grep -q "^Creating user '$user' " "$root/sysusers" &&
		grep -q "^Creating group '$group' " "$root/sysusers" && ! grep -Eqv '^(Creating|Would write) ' "$root/sysusers"
}
if ! command -v systemd-sysusers >/dev/null; then
	skip "systemd-sysusers takes its line" "no systemd-sysusers here (package systemd)"
elif ! systemd-sysusers --help | grep -q -e --dry-run; then
	skip "systemd-sysusers takes its line" "this systemd-sysusers has no --dry-run"
else
	check "systemd-sysusers takes its line" sysusers
fi
check "man pages and completion" sh -c "find '$root' -name 'winapi.1*' | grep -q . &&
	find '$root' -path '*bash-completion*' -name winapi | grep -q ."
export PKG_CONFIG_SYSROOT_DIR="$root" PKG_CONFIG_PATH="${pc%/*}"
# shellcheck disable=SC2046
check "a C++ program builds by pkg-config" g++ -Wall -Wextra -Werror -o "$root/consumer" \
	"$source/tests/install/consumer.cpp" $(pkg-config --cflags --libs winapi)
check "and runs" env LD_LIBRARY_PATH="$libdir" WINAPI_HOSTD="$prefix/libexec/winapi-hostd" "$root/consumer"
dkms=$(find "$root/usr/src" -name dkms.conf)
check "udev rule and module sources" sh -c "test -n '$dkms' && find '$root' -path '*udev/rules.d*' | grep -q winapi.rules"
headers=$(find /lib/modules -name build 2>/dev/null | head -n 1)
if [ -n "$headers" ]; then
	check "the module builds from what was installed" make -C "${dkms%/*}/guest/driver" KDIR="$headers" -j2 modules
else
	skip "the module builds from what was installed" "no kernel headers here"
fi
exit $failed
