# SPDX-License-Identifier: MIT
"""Boots a stock kernel in the test VMM, with a vmbus-user back-end beside it, and runs a script in the guest.

Where /dev/kvm runs ordinary guests, the VMM runs on this machine. Elsewhere QEMU emulates a machine with
SVM (L1), whose kernel loads kvm-amd, and the VMM runs there; its guest is then L2. Either way the guest is
the same: an unmodified kernel and an initramfs made here.
"""
import lzma
import os
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time

from kernels import Kernel

APPLETS = subprocess.run(["busybox", "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()

# What both inits begin with.
INIT = """#!/bin/busybox sh
export PATH=/bin LD_LIBRARY_PATH=/lib
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp
ifconfig lo 127.0.0.1 2>/dev/null
while read -r module; do insmod /modules/$module || echo "insmod $module failed"; done </modules/order
"""

# Not by the serial port, where each byte is an exit.
GUEST_INIT = INIT + """
mount -t debugfs debug /sys/kernel/debug; mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
echo 0 >/proc/sys/kernel/printk_ratelimit
{ sh /script 2>&1; echo $? >/tmp/status; } | vmport print
vmport exit $(cat /tmp/status)
"""

HOST_INIT = INIT + """
stty -echo
sh /host
echo "=== host $?"
poweroff -f
"""

# The host's side: does what the guest says by `vmport host WORDS`, and first what says $BACKEND. Only one back-end at a
# time; it listens at $D/s. The status is that of the VMM, which is that of the guest. On input of "state" the VMM prints
# what the guest's CPUs are at; other lines say nothing.
HOST = """
mkfifo $D/control
exec 3<>$D/control
serve() {
	while read -r verb words <&3; do
		case $verb in
		start) eval "$words --socket $D/s &"; backend=$! ;;
		kill) kill -9 $backend; wait $backend 2>/dev/null ;;
		stop) kill $backend; wait $backend 2>/dev/null ;;
		end) kill $backend 2>/dev/null; exit ;;
		esac
	done
}
serve & agent=$!
echo "start $BACKEND" >&3
while [ ! -S $D/s ]; do sleep 0.1; done
exec 4<&0
$VMM --socket $D/s --control $D/control & vmm=$!
while read -r word <&4; do [ "$word" != state ] || kill -USR1 $vmm; done & asked=$!
wait $vmm
status=$?
kill $asked
echo end >&3
wait $agent
exit $status
"""

SILENCE = 0.2  # seconds, then a machine is poked
TO_ANSWER = 20  # seconds, for a machine that is asked for its state

TRUSTING = """[daemon]
log_level = warning
[limits]
region_bytes = 2G
%s
[trust]
vmm_uids = %d
"""


# ---- Files ---------------------------------------------------------------------------------------------------

class Tree:
    """An initramfs: paths and what they hold, written as a cpio archive."""

    def __init__(self):
        self.entries = {}
        for folder in ("bin", "dev", "etc", "lib", "lib64", "modules", "proc", "sys", "tmp", "root"):
            self.folder(folder)
        self.node("dev/console", 5, 1)
        self.node("dev/null", 1, 3)
        self.file("bin/busybox", shutil.which("busybox"))
        for applet in APPLETS:
            self.entries.setdefault("bin/" + applet, (stat.S_IFLNK | 0o777, b"busybox", 0))

    def folder(self, path):
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.folder(parent)
        self.entries.setdefault(path, (stat.S_IFDIR | 0o755, b"", 0))

    def node(self, path, major, minor):
        self.entries[path] = (stat.S_IFCHR | 0o600, b"", major << 8 | minor)

    def text(self, path, text, mode=0o755):
        self.folder(os.path.dirname(path) or "root")
        self.entries[path] = (stat.S_IFREG | mode, text.encode(), 0)

    def file(self, path, source):
        with open(source, "rb") as f:
            data = f.read()
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFREG | 0o755, data, 0)

    def program(self, path, source):
        """With the shared libraries that it needs."""
        self.file(path, source)
        listed = subprocess.run(["ldd", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        for name, library in re.findall(r"^\s*(\S+) => (/\S+)", listed, re.M):
            self.file("lib/" + os.path.basename(name), library)
        for loader in re.findall(r"^\s*(/\S+)", listed, re.M):
            self.file(loader.lstrip("/"), loader)

    def modules(self, paths, options=None):
        """Loaded by init in this order; options: a module's name and its parameters."""
        order = []
        for path in paths:
            with open(path, "rb") as f:
                data = unpack(f.read())
            name = re.sub(r"\.(xz|zst)$", "", os.path.basename(path))
            self.entries["modules/" + name] = (stat.S_IFREG | 0o644, data, 0)
            order.append(name + " " + (options or {}).get(name.split(".")[0], ""))
        self.text("modules/order", "".join(line + "\n" for line in order), 0o644)

    def write(self, path):
        with open(path, "wb") as out:
            for number, (name, (mode, data, device)) in enumerate(sorted(self.entries.items()), 1):
                write_entry(out, number, name, mode, data, device)
            write_entry(out, 0, "TRAILER!!!", 0, b"", 0)


def write_entry(out, number, name, mode, data, device):
    """One of cpio's newc format."""
    name = name.encode() + b"\0"
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, device >> 8, device & 255, len(name), 0]
    out.write(b"070701" + b"".join(b"%08x" % field for field in fields) + name)
    out.write(b"\0" * (-(110 + len(name)) % 4) + data + b"\0" * (-len(data) % 4))


def unpack(data):
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        # Behind the payload of a kernel image comes what is none of zstd's: its complaint says nothing.
        return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return data


def extract_vmlinux(image, to):
    """The ELF kernel inside a bzImage: setup_sects, payload_offset and payload_length of its header say where."""
    with open(image, "rb") as f:
        data = f.read()
    if data[:4] != b"\x7fELF":
        begin = (data[0x1f1] + 1) * 512 + struct.unpack_from("<I", data, 0x248)[0]
        data = unpack(data[begin:begin + struct.unpack_from("<I", data, 0x24c)[0] - 4])  # behind it: the unpacked size
    with open(to, "wb") as out:
        out.write(data)


# ---- Machines --------------------------------------------------------------------------------------------------

class Machine:
    """
    Set up `guest`, a Tree that has an init and lacks a /script, then run it once.
    build: a meson build directory; work: where this machine's files go; modules: paths, loaded by init in this order.
    programs: those of the host's side, name and path; beside: a line of shell that runs there first; options: for the VMM.
    """

    def __init__(self, build, work, kernel=None, modules=(), programs=None, backend="winapi-hostd --config $D/hostd.conf",
                 configs=None, beside=":", options="", cpus=2, memory=1280, append=""):
        os.makedirs(work, exist_ok=True)
        self.build, self.work, self.backend, self.beside = build, work, backend, beside
        self.kernel = kernel or Kernel()
        self.configs = configs or {"hostd.conf": ""}
        self.programs = dict(programs or {}, vmm=os.path.join(build, "tests/vm/vmm"),
                             **{"winapi-hostd": os.path.join(build, "host/linux/winapi-hostd")})
        self.vmm = ("vmm --kernel %%s --initrd %%s --memory %d --cpus %d --append 'console=ttyS0 nokaslr mitigations=off "
                    "panic=-1 oops=panic reboot=t pci=off quiet loglevel=1 log_buf_len=4M %s' %s"
                    % (memory, cpus, append, options))
        self.vmlinux = os.path.join(work, "vmlinux")
        extract_vmlinux(self.kernel.image, self.vmlinux)
        self.guest = Tree()
        self.guest.text("init", GUEST_INIT)
        self.guest.program("bin/vmport", os.path.join(build, "tests/vm/vmport"))
        self.guest.modules(modules)
        self.initrd = os.path.join(work, "guest.cpio")

    def run(self, seconds, nested=None, echo=None):
        """
        (status, output): the guest's, None when it didn't end. echo: called with each line as it comes; the guest has
        `seconds`, and anew as many as echo returns, unless that is None.
        """
        if nested is None:
            nested = not kvm_works(self.build)
        self.guest.write(self.initrd)
        command = self.nested_command() if nested else self.direct_command()
        output = Watched(command, self.work, seconds, echo).run()
        ended = re.search(r"^=== host (\d+)", output, re.M)
        return int(ended.group(1)) if ended else None, output

    def host_script(self, folder, kernel, initrd):
        return "D=%s\n%s\n" % (folder, self.beside) + HOST.replace("$BACKEND", self.backend).replace("$VMM", self.vmm % (kernel, initrd))

    def direct_command(self):
        """In a process group of its own, with PATH to the programs."""
        folder = os.path.join(self.work, "host")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.join(folder, "bin"))
        for name, path in self.programs.items():
            os.symlink(os.path.abspath(path), os.path.join(folder, "bin", name))
        for name, extra in self.configs.items():
            with open(os.path.join(folder, name), "w") as f:
                f.write(TRUSTING % (extra, os.geteuid()))
        script = "(%s)\necho \"=== host $?\"\n" % self.host_script(folder, self.vmlinux, self.initrd)
        return ["env", "PATH=%s:%s" % (os.path.join(folder, "bin"), os.environ["PATH"]), "sh", "-c", script]

    def nested_command(self):
        stock = Kernel()
        host = Tree()
        host.text("init", HOST_INIT)
        # /tmp is mounted over, so what belongs there is copied.
        host.text("host", "cp /configs/* /tmp\n" + self.host_script("/tmp", "/vmlinux", "/guest.cpio"))
        for name, extra in self.configs.items():
            host.text("configs/" + name, TRUSTING % (extra, 0), 0o644)
        host.modules(stock.modules("irqbypass", "kvm", "ccp", "kvm_amd", "vhost_vsock"), {"kvm-amd": "nested=0"})
        for name, path in self.programs.items():
            host.program("bin/" + name, path)
        host.file("vmlinux", self.vmlinux)
        host.file("guest.cpio", self.initrd)
        initrd = os.path.join(self.work, "host.cpio")
        host.write(initrd)
        kernel = os.path.join(self.work, "vmlinux-l1")
        extract_vmlinux(stock.image, kernel)
        return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "q35", "-cpu", "EPYC,+svm,+npt", "-m", "2560",
                "-smp", "1", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
                "-kernel", kernel, "-initrd", initrd, "-append",
                "console=ttyS0 panic=-1 nokaslr mitigations=off tsc=reliable quiet loglevel=1"]


class Watched:
    """A command in a session of its own, its output kept and shown as it comes. Late, it is asked for its state, then ended."""

    def __init__(self, command, folder, seconds, echo):
        self.echo = echo or (lambda line: None)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        cwd=folder, start_new_session=True)
        self.log = open(os.path.join(folder, "log"), "w")
        self.lines = []
        self.until, self.asked = time.monotonic() + seconds, False

    def take(self, line):
        line = line.decode(errors="replace").replace("\r", "")
        if not line:  # what say() says is echoed in the beginning
            return
        self.lines.append(line + "\n")
        self.log.write(line + "\n")
        self.log.flush()
        seconds = self.echo(line)
        if seconds is not None:
            self.until = time.monotonic() + seconds

    def say(self, word):
        try:
            os.write(self.process.stdin.fileno(), word + b"\n")
        except BrokenPipeError:
            pass  # it has ended, which its output will tell

    def late(self):
        if self.asked:
            self.end()
        self.say(b"state")
        self.until, self.asked = time.monotonic() + TO_ANSWER, True

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def follow(self):
        """
        To the end of its output. QEMU's emulation of SVM and its devices change a CPU's pending interrupts without a lock
        between them, and so lose a timer interrupt now and then; without that, no other comes. The next interrupt of any
        device makes up for it, so a machine that is silent gets a byte on its serial line.
        """
        out, part = self.process.stdout.fileno(), b""
        while True:
            if select.select([out], [], [], SILENCE)[0]:
                data = os.read(out, 65536)
                if not data:
                    break
                *whole, part = (part + data).split(b"\n")
                for line in whole:
                    self.take(line)
            else:
                self.say(b"")
            if time.monotonic() > self.until:
                self.late()
        self.take(part)

    def run(self):
        # Whoever ends us ends the machine, too.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
        try:
            self.follow()
        finally:
            self.end()
            self.process.wait()
        return "".join(self.lines)


_kvm_works = None


def kvm_works(build):
    """A /dev/kvm that opens is no proof: does a guest get as far as its init on it?"""
    global _kvm_works
    if _kvm_works is None:
        _kvm_works = False
        if os.access("/dev/kvm", os.R_OK | os.W_OK):
            machine = Machine(build, os.path.join(build, "vm-probe"), cpus=1, memory=256)
            machine.guest.text("script", "true\n")
            _kvm_works = machine.run(30, nested=False)[0] == 0
    return _kvm_works
