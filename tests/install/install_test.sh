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

echo 1..11
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
	n=$((n + 1))
	echo "ok $n - the module builds from what was installed # SKIP no kernel headers here"
fi
exit $failed
