# SPDX-License-Identifier: MIT
# The commands of README. Meson does the work; each goal installs what it needs and may be repeated.

BUILD ?= build
SETUP = test -f $(BUILD)/build.ninja || meson setup $(BUILD)

.PHONY: demo check bench check-wine demo-wine build clean

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

build:
	@scripts/install-deps.sh demo
	@$(SETUP)
	@meson compile -C $(BUILD)

clean:
	rm -rf $(BUILD) build-*
