#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Debian's kernels: images, modules and headers, and winapi_client.ko for each.

Usage: tests/vm/kernels.py [LINE ...]      all of Debian's when none is named

The machine's own kernel packages serve for bookworm. Any other release's headers want that release's compiler, so
each gets a small Debian of its own below build-vm/, where the image is unpacked too; both are fetched from the
mirror that this machine's apt uses, once.
"""
import argparse
import fcntl
import glob
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(TOP, "build-vm")
SOURCES = ("guest/driver", "include", "common")

# kernel line: Debian's release, None for the packages of this machine
LINES = {"5.10": "bullseye", "6.1": None, "6.12": "trixie", "sid": "sid"}
DEFAULT = "6.1"
DEBUG = "debug"  # built here from Debian's source with debug.config: KASAN, lockdep, kmemleak and more


def run(command, log, **kwargs):
    with open(log, "a") as out:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, **kwargs).returncode
    if status:
        with open(log) as f:
            sys.stderr.write(f.read()[-6000:])
        raise RuntimeError("%s failed, see %s" % (command[0], log))


def as_root(command):
    return command if os.geteuid() == 0 else ["sudo"] + command


def mirror():
    """Where this machine's apt gets Debian itself from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages", "Origin: Debian",
               "Component: main"]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    found = [uri for uri in found if not re.search(r"security|backports", uri)]
    if not found:
        raise RuntimeError("apt knows no mirror of Debian; apt-get update first")
    return found[0]


def numbers(version):
    return [int(n) for n in re.findall(r"\d+", version)]


class Kernel:
    """A kernel's image, modules and headers below `root`."""

    def __init__(self, root="/", version=None):
        self.root = root
        found = [os.path.basename(path) for path in glob.glob(os.path.join(root, "lib/modules/*-amd64"))]
        self.version = version or max(filter(self.image_of, found), key=numbers)
        self.image = self.image_of(self.version)

    def image_of(self, version):
        """From Linux 7 on it lies beside the modules."""
        paths = [os.path.join(self.root, "boot/vmlinuz-" + version), os.path.join(self.root, "lib/modules", version, "vmlinuz")]
        return next((path for path in paths if os.path.exists(path)), None)

    def modules(self, *names):
        """Their paths, those they depend on first; those built in are left out."""
        folder = os.path.join(self.root, "lib/modules", self.version)
        files = {}
        for path in glob.glob(os.path.join(folder, "kernel/**/*.ko*"), recursive=True):
            files[os.path.basename(path).split(".")[0].replace("-", "_")] = path
        order = []

        def add(name):
            path = files.get(name.replace("-", "_"))
            if not path or path in order:
                return
            text = subprocess.run(["modinfo", "-F", "depends", path], stdout=subprocess.PIPE, text=True).stdout
            for other in text.strip().split(","):
                if other:
                    add(other)
            order.append(path)

        for name in names:
            add(name)
        return order


# ---- Other releases -----------------------------------------------------------------------------------------------

def in_chroot(root, script, log):
    """With /proc, which the kernel's build reads; in a mount namespace of its own, so nothing stays mounted."""
    inner = 'mount -t proc proc "$1/proc" && exec chroot "$1" /bin/sh -euc "$2"'
    run(as_root(["unshare", "--mount", "--propagation", "private", "sh", "-euc", inner, "sh", root, script]), log)


FETCH = """
export DEBIAN_FRONTEND=noninteractive
version=$(ls /lib/modules | sort -V | tail -1)
# A mirror that lags behind is no harm here; who signed its lists is checked all the same.
apt-get -o Acquire::Check-Valid-Until=false update
mkdir -p /kernel && cd /kernel
# Where the image is split, its parts are what it depends on, of the same version.
parts=$(apt-cache depends linux-image-$version | sed -n "s/.*Depends: \\(linux-[a-z-]*-$version\\)$/\\1/p")
apt-get -o APT::Sandbox::User=root download linux-image-$version $parts
for deb in *.deb; do dpkg -x $deb /image; rm $deb; done
[ -e /image/lib ] || ln -s usr/lib /image/lib
apt-get clean
"""


def release(line):
    """The root of a small Debian with headers and compiler, and the kernel's image and modules in /image."""
    root, suite = os.path.join(CACHE, line), LINES[line]
    if os.path.exists(root):
        return root
    part, log = root + ".part", root + ".log"
    os.makedirs(CACHE, exist_ok=True)
    if os.path.exists(part):
        subprocess.run(as_root(["rm", "-rf", "--one-file-system", part]), check=True)
    if os.path.exists(log):
        os.unlink(log)
    run(as_root(["debootstrap", "--variant=minbase", "--include=make,gcc,kmod,linux-headers-amd64", suite, part, mirror()]), log)
    in_chroot(part, FETCH, log)
    subprocess.run(as_root(["mv", part, root]), check=True)
    return root


# ---- The debug kernel -----------------------------------------------------------------------------------------------

def debug_kernel():
    """The tree it was built in, with the bus's modules where a distribution would put them."""
    root, log = os.path.join(CACHE, DEBUG), os.path.join(CACHE, DEBUG + ".log")
    config = os.path.join(HERE, "debug.config")
    source = max(glob.glob("/usr/src/linux-source-*.tar.xz"), key=numbers)
    stamp = os.path.join(root, "built-with")
    with open(config) as f:
        wanted = source + "\n" + f.read()
    if os.path.exists(stamp) and open(stamp).read() == wanted:
        return Kernel(os.path.join(root, "image"))
    os.makedirs(root, exist_ok=True)
    if not os.path.exists(os.path.join(root, "Makefile")):
        run(["tar", "xf", source, "-C", root, "--strip-components=1"], log)
    run(["make", "-s", "-C", root, "tinyconfig"], log)
    run(["scripts/kconfig/merge_config.sh", "-m", ".config", config], log, cwd=root)
    for goal in (["olddefconfig"], ["vmlinux", "modules"], ["modules_install", "INSTALL_MOD_PATH=" + os.path.join(root, "image")]):
        run(["make", "-s", "-j2", "-C", root, "LOCALVERSION=-amd64"] + goal, log)
    version = os.path.basename(glob.glob(os.path.join(root, "image/lib/modules/*"))[0])
    shutil.copy(os.path.join(root, "vmlinux"), os.path.join(root, "image/lib/modules", version, "vmlinuz"))
    with open(stamp, "w") as f:
        f.write(wanted)
    return Kernel(os.path.join(root, "image"))


# ---- One at a time --------------------------------------------------------------------------------------------------

held = []


def alone():
    """What is built and booted here is this process's from now on, until it ends; others wait."""
    if not held:
        os.makedirs(CACHE, exist_ok=True)
        held.append(open(os.path.join(CACHE, "lock"), "w"))
        fcntl.flock(held[0], fcntl.LOCK_EX)


# ---- The driver -----------------------------------------------------------------------------------------------------

def copy_sources(to):
    for folder in SOURCES:
        shutil.copytree(os.path.join(TOP, folder), os.path.join(to, folder), dirs_exist_ok=True)


def kernel(line):
    if line == DEBUG:
        return debug_kernel()
    return Kernel(os.path.join(release(line), "image")) if LINES[line] else Kernel()


def build_module(line):
    """winapi_client.ko for a kernel; warnings are errors."""
    found = kernel(line)
    # Without kernel-doc, which wants Perl or Python of the release's.
    make = ("make -j2 -C %s M=%s/guest/driver W=1 KCFLAGS=-Werror cmd_checkdoc= "
            "modules")
    log = os.path.join(CACHE, line + ".module.log")
    os.makedirs(CACHE, exist_ok=True)
    if os.path.exists(log):
        os.unlink(log)
    if LINES.get(line):
        source = os.path.join(CACHE, line, "winapi")
        if not os.path.exists(source):
            subprocess.run(as_root(["install", "-d", "-o", str(os.geteuid()), source]), check=True)
        copy_sources(source)
        in_chroot(os.path.join(CACHE, line), make % ("/lib/modules/%s/build" % found.version, "/winapi"), log)
    else:
        source = os.path.join(CACHE, line, "winapi")
        copy_sources(source)
        make += " C=2 CF=-Wsparse-error"  # sparse looks at each file, too
        run((make % (os.path.join(found.root, "lib/modules", found.version, "build"), source)).split(), log)
    return os.path.join(source, "guest/driver/winapi_client.ko")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("line", nargs="*", metavar="LINE", help="%s, or %s" % (", ".join(LINES), DEBUG))
    lines = parser.parse_args().line or LINES
    alone()
    for line in lines:
        print("%s: Linux %s" % (line, kernel(line).version), flush=True)
        print("%s: %s" % (line, build_module(line)), flush=True)


if __name__ == "__main__":
    main()
