#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test_client talks to winapi_remoting.sys, which Wine runs behind a stand-in for KMCL.

Usage: demo.py --build WINDOWS-BUILD --native BUILD
"""
import argparse
import os
import subprocess
import sys

import wine


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--native", required=True)
    arguments = parser.parse_args()
    if not os.path.exists(os.path.join(arguments.build, "tests/wine/prefix/complete")):
        print("Wine makes itself a home, once: about 15 s", flush=True)
    with wine.Wine(arguments.build, "free") as w:
        w.start()
        print("winapi_remoting.sys is loaded in process %d, by Wine" % w.pid, flush=True)
        status = subprocess.call([os.path.join(arguments.native, "guest/tools/test_client"), "--transport", w.uri])
        stats = w.stats()
        print("The driver counted %(packets)d packets, %(external_packets)d of them with pages of their own, on "
              "%(opens)d channel" % stats)
        w.stop()
        left = {name: count for name, count in w.control.held().items() if count}
        print("Unloaded; %s" % ("it left %s" % left if left else "nothing of it is left"))
    return 1 if status or left else 0


if __name__ == "__main__":
    sys.exit(main())
