# SPDX-License-Identifier: MIT
"""winapi_remoting.sys in a Wine of its own: a prefix in the build directory, no display, ended with all its processes."""
import os
import shutil
import socket
import subprocess
import tempfile
import threading

WINE = "/usr/lib/wine/wine64"
SERVER = "/usr/lib/wine/wineserver64"
PATIENCE = 120  # seconds, for what should take a few
COMMAND_SECONDS = 600  # some of the agent's commands are a thousand offers


class Error(Exception):
    pass


class Control:
    """The stand-in's control socket: see control.c."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)

    def ask(self, command):
        self.socket.send(command.encode())
        return self.socket.recv(65536).decode().strip()

    def set(self, name, value):
        if self.ask("set %s %d" % (name, value)) != "ok":
            raise Error("no setting %s" % name)

    def held(self):
        return {line.split()[0]: int(line.split()[1]) for line in self.ask("held").splitlines()}

    def findings(self):
        return self.ask("findings").splitlines()

    def events(self):
        """(event id, payload) of ETW's events since the last time."""
        events = []
        while lines := self.ask("events").splitlines():
            for line in lines:
                words = line.split()
                events.append((int(words[1], 16), bytes.fromhex(words[5]) if len(words) > 5 else b""))
        return events


class Wine:
    """build: the Windows build; driver: "free" or "checked"; cpu: the one for all of it. Use as a context."""

    def __init__(self, build, driver, cpu=None):
        self.pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
        self.build = os.path.abspath(build)
        self.driver = os.path.join(self.build, "host/windows",
                                   "winapi_remoting_checked.sys" if driver == "checked" else "winapi_remoting.sys")
        self.prefix = os.path.join(self.build, "tests/wine/prefix")
        self.agent = None
        self.connection = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="winapi-wine-")
        self.environment = dict(os.environ, WINEPREFIX=self.prefix, WINEARCH="win64",
                                WINEDEBUG=os.environ.get("WINEDEBUG", "-all"),
                                WINEDLLOVERRIDES="mscoree,mshtml,winedbg.exe=", WINESERVER=SERVER, XDG_RUNTIME_DIR=self.folder,
                                WINAPI_WINE_RUN=self.folder)
        self.environment.pop("DISPLAY", None)
        try:
            self.make_prefix()
            drivers = os.path.join(self.prefix, "drive_c/windows/system32/drivers")
            shutil.copy(self.driver, os.path.join(drivers, "winapi_remoting.sys"))
            for name in ("vmbkmclr.sys", "keeper.sys", "faulty.sys"):
                shutil.copy(os.path.join(self.build, "tests/wine", name), drivers)
            self.start_agent()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *unused):
        if self.agent:
            self.agent.stdin.close()
            try:
                self.agent.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.agent.kill()
            self.agent.stdout.close()
            self.agent = None
        # Kills what this prefix' server knows, and nothing else; then waits for the server itself.
        subprocess.run([SERVER, "-k"], env=self.environment, stderr=subprocess.DEVNULL)
        subprocess.run([SERVER, "-w"], env=self.environment, stderr=subprocess.DEVNULL, timeout=PATIENCE)
        shutil.rmtree(self.folder)

    def make_prefix(self):
        done = os.path.join(self.prefix, "complete")
        if os.path.exists(done):
            return
        os.makedirs(self.prefix, exist_ok=True)
        subprocess.run([WINE, "wineboot.exe", "--init"], env=self.environment, check=True, timeout=300,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run([SERVER, "-w"], env=self.environment, check=True, timeout=300)
        open(done, "w").close()

    def start_agent(self):
        """One process of Wine's must live, or it takes the driver down."""
        command = [WINE, os.path.join(self.build, "tests/wine/agent.exe"), self.path("control")]
        self.agent = subprocess.Popen(self.pin + command, env=self.environment, text=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE,
                                      stderr=None if "WINEDEBUG" in os.environ else subprocess.DEVNULL)
        for name in ("keeper", "faulty", "winapi_remoting"):
            self.must("install " + name)
        # 1056: it runs already. Now and then Wine's StartService says so of the very service that it starts.
        if self.tell("start keeper")[-1:] not in (["ok"], ["error 1056"]):
            raise Error("the keeper doesn't start")
        self.must("watch")

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def uri(self):
        return "local:" + self.path("vms")

    def tell(self, command):
        """A command for agent.c; the lines of its answer."""
        self.agent.stdin.write(command + "\n")
        self.agent.stdin.flush()
        lines = []
        timer = threading.Timer(COMMAND_SECONDS, self.agent.kill)
        timer.start()
        try:
            for line in self.agent.stdout:
                if line.strip() == ".":
                    return lines
                lines.append(line.strip())
        finally:
            timer.cancel()
        raise Error("the agent died, or was too slow, at %r; the log ends with %r" % (command, self.log()[-600:]))

    def must(self, command):
        lines = self.tell(command)
        if not lines or lines[-1] != "ok":
            raise Error("%s: %s; the log ends with %r" % (command, lines, self.log()[-600:]))
        return lines[:-1]

    def parameters(self, **values):
        for name, value in values.items():
            self.must("set %s %d" % (name, value))

    def start(self):
        self.must("start winapi_remoting")

    def stop(self):
        self.must("stop winapi_remoting")

    @property
    def control(self):
        if not self.connection:
            self.connection = Control(self.path("control"))
        return self.connection

    def stats(self):
        return {line.split()[0]: int(line.split()[1]) for line in self.must("stats")}

    def run(self, *command):
        """A program of Wine's."""
        return subprocess.run([WINE] + list(command), env=self.environment, capture_output=True, text=True,
                              timeout=PATIENCE)

    def reconnect(self):
        """The driver, or another's, was loaded in a process of its own."""
        self.connection = None

    @property
    def pid(self):
        """Of the driver's process: it alone has the log open."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            folder = "/proc/%s/fd" % pid
            try:
                if any(os.readlink(os.path.join(folder, fd)) == self.path("standin.log") for fd in os.listdir(folder)):
                    return int(pid)
            except OSError:
                continue
        raise Error("the driver's process isn't to be found")

    def log(self):
        try:
            return open(self.path("standin.log")).read()
        except FileNotFoundError:
            return ""
