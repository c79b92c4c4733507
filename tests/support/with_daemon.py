#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a test program against a winapi-hostd that listens on a socket of its own.

Usage: with_daemon.py [--activated] [--config TEXT] HOSTD PROGRAM [ARGUMENT...]

PROGRAM gets "--transport local:PATH" behind its arguments. --activated passes the socket as systemd
does. The daemon must end with status 0 on SIGTERM; otherwise this prints why and fails.
"""
import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time


def start(hostd, path, config, activated):
    """The daemon, once its socket is there."""
    command = [hostd, "--config", config, "--socket", path, "--log-level", "warning"]
    if not activated:
        daemon = subprocess.Popen(command)
        while not os.path.exists(path) and daemon.poll() is None:
            time.sleep(0.01)
        return daemon
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        os.dup2(listener.fileno(), 3)
        shell = ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"']
        return subprocess.Popen(shell + command, pass_fds=[3])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--activated", action="store_true")
    parser.add_argument("--config", default="")
    parser.add_argument("hostd")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        config = os.path.join(folder, "hostd.conf")
        with open(config, "w") as f:
            f.write(arguments.config.replace(";", "\n") + "\n")
        daemon = start(arguments.hostd, path, config, arguments.activated)
        status = subprocess.call(arguments.command + ["--transport", "local:" + path])
        daemon.send_signal(signal.SIGTERM)
        ended = daemon.wait(30)
    if ended:
        print("# winapi-hostd ended with %d" % ended)
    return 1 if status or ended else 0


if __name__ == "__main__":
    sys.exit(main())
