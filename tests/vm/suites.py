# SPDX-License-Identifier: MIT
"""What runs in the guest. A suite is a shell script that prints TAP, with what guest/lib.sh offers.

Each has a back-end of its own; after each, guest/run.sh looks at memory, pinned pages and the kernel's log.
"""
import collections

HOSTD = "winapi-hostd --config $D/hostd.conf"
CONFORMANCE = "tests/conformance/conformance"

# script: runs in the guest, as root. programs: of the meson build, into /bin of the guest. backend: what serves the
# guest, --socket is added. driver: does it need winapi_client? sets: where it belongs: "all" is make check-vm,
# "kernels" make check-vm-kernels, "brief" the second kernel of make check, "debug" make check-vm-debug. timeout: in
# seconds, several times of what it takes on two busy cores under emulation.
Suite = collections.namedtuple("Suite", "name script programs backend driver timeout sets")
Suite.__new__.__defaults__ = ((), HOSTD, True, 400, ("all", "debug"))
ALWAYS = ("all", "kernels", "debug")


def program(name, arguments="", backend=HOSTD, **more):
    """A suite that is one program of tests/vm/guest."""
    return Suite(name, "tap vm_%s" % (arguments or name), ("tests/vm/guest/vm_" + (arguments or name).split()[0],),
                 backend, **more)


SUITES = [
    program("keyboard", backend="vm_backend --keyboard", driver=False, sets=ALWAYS),

    Suite("conformance", "tap user conformance --transport vmbus: --scale 20", (CONFORMANCE,),
          sets=ALWAYS + ("brief",)),

    Suite("conformance_4k", """
        reload ring_kib=4
        tap user conformance --transport vmbus: --scale 40
        reload
        """, (CONFORMANCE,)),

    Suite("tools", """
        check "test_client finds nothing wrong" user test_client --quick --transport vmbus:
        check "winapi info" user winapi info --transport vmbus:
        check "winapi echo" test "$(user winapi echo hello)" = hello
        check "winapi buffer" user winapi buffer --size 1M --count 2
        check "winapi perf" user winapi perf --calls 200 --size 64
        check "winapi stat" user winapi stat
        chmod 0600 /dev/winapi
        user winapi info >/tmp/out 2>&1 && echo "not ok - a device that can't be opened is an error" ||
                check "a device that can't be opened is an error, not another host" grep "group winapi" /tmp/out
        chmod 0660 /dev/winapi
        """),

    program("counts_backend", "counts backend", backend="vm_backend"),
    program("counts_hostd", "counts hostd"),
    program("exits"),
    program("ioctl_bad"),
    program("buffer_bad"),
    program("memory"),
    program("races"),
    program("ioctl_fuzz"),
    program("faults"),
    program("limits", backend="vm_backend --small"),
    program("gpadl_limit", "gpadl_limit 384", backend="winapi-hostd --config $D/hostd-384.conf"),
    program("two_devices", backend="vm_backend"),
    program("hostile", backend="vm_backend", timeout=600, sets=ALWAYS),

    program("restarts", "restarts winapi-hostd --config '$D/hostd.conf'"),  # killed mid-call, 100 times

    Suite("reloads", """
        failed=0
        for i in $(seq 200); do
                rmmod winapi_client && insmod /modules/winapi_client.ko || { failed=1; break; }
                [ $((i % 20)) != 0 ] || ready || { failed=1; break; }
        done
        check "200 times unloaded and loaded" test $failed = 0 -a $i = 200
        ready
        """),

    # The kernel's own test of hibernation spins for 5 s by the clock of a CPU that may have to share: no lockup.
    Suite("suspend", """
        thresh=$(cat /proc/sys/kernel/watchdog_thresh)
        echo 60 >/proc/sys/kernel/watchdog_thresh
        tap vm_suspend
        echo $thresh >/proc/sys/kernel/watchdog_thresh
        """, ("tests/vm/guest/vm_suspend",), "vm_backend"),
]

# Configurations of winapi-hostd: [limits] that differ from what is built in.
CONFIGS = {
    "hostd.conf": "bytes = 640M",  # a session may not have more than the guest
    "hostd-384.conf": "bytes = 640M\ngpadl_bytes = 384M",  # as hosts before Server 2019
}

# What programs print as "# figure NAME VALUE UNIT", and the bounds for these; others are shown only.
FIGURES = {
    "signals_sync_idle": "== 1",
    "interrupts_sync_idle": "== 1",
    "signals_sync_polled": "== 0",
    "interrupts_sync_polled": "== 0",
    "signals_64_in_flight": "<= 0.1",
    "signals_batch_32": "== 1",
    "interrupts_batch_32": "== 1",
    "pages_pinned_registered": "== 0",
    "bytes_copied_registered": "== 0",
    "gpa_direct_64k": "== 1",
    "bytes_copied_64k": "== 0",
    "gpadl_messages_64m": "<= 588",
    "gpadl_messages_10000_calls": "== 0",
    "vmm_exits_sync": "== 0",
    "kvm_exits_over_ping": "<= 2",
}
