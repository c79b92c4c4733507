#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs the Debian packages that a goal of the Makefile needs, by name, when they are missing.
# Usage: scripts/install-deps.sh demo|check|bench|check-wine|demo-wine|check-vm|check-vm-debug
set -eu

build="gcc libc6-dev make meson ninja-build pkg-config libinih-dev libjansson-dev"
# The Windows driver: a compiler for it, and what runs it.
wine="wine64 gcc-mingw-w64-x86-64 mingw-w64-x86-64-dev binutils-mingw-w64-x86-64 python3"
# The guest: what emulates it, its kernel, and what builds the module for others.
vm="libcmocka-dev python3 qemu-system-x86 seabios linux-image-amd64 linux-headers-amd64 busybox-static kmod zstd
	debootstrap sparse"
case "${1:-}" in
demo)
	packages="$build"
	;;
check)
	packages="$build clang clang-format libclang-rt-14-dev libcmocka-dev valgrind scdoc man-db groff-base systemd gnuplot-nox \
		python3 strace g++ bash patch $wine osslsigncode openssl $vm"
	;;
check-wine)
	packages="$build libcmocka-dev $wine osslsigncode openssl"
	;;
demo-wine)
	packages="$build $wine"
	;;
check-vm)
	packages="$build $vm"
	;;
check-vm-debug)
	packages="$build $vm linux-source flex bison bc libelf-dev coccinelle perl"
	;;
bench)
	packages="$build libzmq3-dev libnng-dev libqb-dev gnuplot-nox python3"
	;;
*)
	echo "usage: $0 demo|check|bench|check-wine|demo-wine|check-vm|check-vm-debug" >&2
	exit 2
	;;
esac

missing=
for package in $packages; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

run=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "these packages are missing, and neither root nor sudo is at hand:$missing" >&2
		exit 1
	}
	run=sudo
fi
echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package list may be missing or old on a fresh machine: refresh it before giving up.
for try in 1 2; do
	# shellcheck disable=SC2086
	if $run env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
		$missing >"$log" 2>&1; then
		exit 0
	fi
	[ "$try" = 2 ] || $run apt-get update >"$log" 2>&1 || true
done
cat "$log" >&2
exit 1
