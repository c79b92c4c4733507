# SPDX-License-Identifier: MIT
# The commands of README. Meson does the work; each goal installs what it needs and may be repeated.

BUILD ?= build
SETUP = test -f $(BUILD)/build.ninja || meson setup $(BUILD)

.PHONY: demo check bench build clean check-wine demo-wine vm-programs check-vm check-vm-kernels check-vm-debug \
	demo-vm bench-vm

# The main job on this machine: test_client calls a separate winapi-hostd over real VMBus rings.
demo:
	@scripts/install-deps.sh demo
	@$(SETUP) >/dev/null
	@meson compile -C $(BUILD) demo-programs >$(BUILD)/compile.log || { cat $(BUILD)/compile.log; exit 1; }
	@WINAPI_HOSTD=$(BUILD)/host/linux/winapi-hostd $(BUILD)/guest/tools/test_client --transport local:

# Every test, on several builds; ends with "N passed, N failed, N skipped".
check:
	@scripts/install-deps.sh check
	@python3 scripts/check.py

# The Windows driver alone: built here, and run under Wine through its suites.
check-wine:
	@scripts/install-deps.sh check-wine
	@python3 scripts/check.py --only windows

# The main job on the Windows driver: test_client calls winapi_remoting.sys, which Wine runs.
demo-wine:
	@scripts/install-deps.sh demo-wine
	@$(SETUP) >/dev/null
	@meson compile -C $(BUILD) demo-programs >$(BUILD)/compile.log || { cat $(BUILD)/compile.log; exit 1; }
	@test -f $(BUILD)-windows/build.ninja || meson setup $(BUILD)-windows --cross-file scripts/mingw-w64.ini >/dev/null
	@meson compile -C $(BUILD)-windows >$(BUILD)/compile.log || { cat $(BUILD)/compile.log; exit 1; }
	@python3 tests/wine/demo.py --build $(BUILD)-windows --native $(BUILD)

# Floors, peers and winapi side by side; writes $(BUILD)/bench.json and $(BUILD)/bench.svg.
bench:
	@scripts/install-deps.sh bench
	@$(SETUP) -Dbench=enabled >/dev/null
	@meson configure $(BUILD) -Dbench=enabled
	@meson compile -C $(BUILD) >/dev/null
	@python3 bench/bench.py --build $(BUILD)

# What needs a guest: stock kernels in our test VMM, on /dev/kvm or in nested emulation (docs/testing.md).
vm-programs:
	@scripts/install-deps.sh check-vm
	@$(SETUP) >/dev/null
	@meson configure $(BUILD) -Dtests=enabled
	@meson compile -C $(BUILD) >$(BUILD)/compile.log || { cat $(BUILD)/compile.log; exit 1; }

# Every suite on bookworm's kernel; writes $(BUILD)/vm.json.
check-vm: vm-programs
	@python3 tests/vm/check.py --build $(BUILD)

# Conformance and the hostile host on the kernels of four releases.
check-vm-kernels: vm-programs
	@python3 tests/vm/check.py --build $(BUILD) --kernel every --set kernels

# On a kernel that is built here, with KASAN, lockdep and kmemleak; and what that kernel's checkers say of the driver.
check-vm-debug: vm-programs
	@scripts/install-deps.sh check-vm-debug
	@python3 tests/vm/lint.py
	@python3 tests/vm/check.py --build $(BUILD) --kernel debug --set debug

# test_client and dmesg in the guest.
demo-vm: vm-programs
	@python3 tests/vm/demo.py --build $(BUILD)

# Microseconds and GB/s in the guest, where /dev/kvm runs one.
bench-vm: vm-programs
	@python3 tests/vm/bench.py --build $(BUILD)

build:
	@scripts/install-deps.sh demo
	@$(SETUP)
	@meson compile -C $(BUILD)

clean:
	rm -rf $(BUILD) build-*
