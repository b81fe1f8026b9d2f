"""A fleet on one machine: a street (a bridge), and rooms (network namespaces) in it, one for each
server and each daemon. A room can be cut off from the street in either direction.

All of it lives in namespaces that have no name, inside a process namespace whose first process is
ours: whatever ends the run, nothing of it stays. Unix sockets reach into every room, so that the
harness is never on the wrong side of a partition."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time

import redis

CLONE_NEWNET = 0x40000000
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip_batch(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


class Room:
    """A network namespace with one address. It lives while its descriptor is open."""

    def __init__(self, number):
        self.number, self.address = number, f"10.7.{number // 250}.{number % 250 + 2}"
        street = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        checked(libc.unshare(CLONE_NEWNET))
        self.inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.street = street
        ip_batch("link set lo up",
                 # Process 1 never leaves the street; we are in the room just now.
                 f"link add eth0 type veth peer name v{number} netns 1",
                 f"addr add {self.address}/16 dev eth0", "link set eth0 up")
        checked(libc.setns(street, CLONE_NEWNET))
        ip_batch(f"link set v{number} master street", f"link set v{number} up")

    @contextlib.contextmanager
    def entered(self):
        """What is started meanwhile lives in the room. Do not wait for anything in here."""
        checked(libc.setns(self.inside, CLONE_NEWNET))
        try:
            yield
        finally:
            checked(libc.setns(self.street, CLONE_NEWNET))

    def _rules(self, *rules):
        with self.entered():
            for rule in rules:
                subprocess.run(["iptables", "-w", *rule.split()], check=True)

    def cut(self, direction="both", other=None):
        """`out`: what it sends is swallowed; `in`: what it is sent. No FIN and no RST: half-open."""
        rules = []
        if direction in ("both", "out"):
            rules.append("-A OUTPUT -o eth0 " + (f"-d {other.address} " if other else "") + "-j DROP")
        if direction in ("both", "in"):
            rules.append("-A INPUT -i eth0 " + (f"-s {other.address} " if other else "") + "-j DROP")
        self._rules(*rules)

    def heal(self):
        self._rules("-F")

    def ip(self, *lines):
        with self.entered():
            ip_batch(*lines)


class Process:
    """A program in a room, with a log; it can be stopped, frozen and started again."""

    def __init__(self, house, name, room):
        self.house, self.name, self.room = house, name, room
        self.log = os.path.join(house.folder, name + ".log")
        self.process, self.lives = None, 0

    def launch(self, argv):
        with open(self.log, "ab") as log, self.room.entered():
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.lives += 1

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, number=signal.SIGKILL):
        self.house.note("fault", who=self.name, fault=signal.Signals(number).name)
        self.process.send_signal(number)
        self.process.wait()

    def freeze(self):
        self.house.note("fault", who=self.name, fault="SIGSTOP")
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)
        self.house.note("fault", who=self.name, fault="SIGCONT")

    def logged(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()


class Server(Process):
    """redis-server or valkey-server, on TCP in its room and on a Unix socket for the harness."""

    def __init__(self, house, name, room, options=(), disk_mib=0):
        super().__init__(house, name, room)
        self.data = os.path.join(house.folder, name)
        os.mkdir(self.data)
        if disk_mib: # gone with our mount namespace
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_mib}m", "tmpfs", self.data],
                           check=True)
        self.socket = os.path.join(self.data, "socket")
        self.options = list(options)
        self.again()

    def again(self, *more):
        """Same folder: what was saved there is loaded."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        self.launch([self.house.server_program, "--port", "6379", "--protected-mode", "no",
                     "--unixsocket", self.socket, "--dir", self.data, "--save", "",
                     "--daemonize", "no", *self.options, *more])
        self.house.wait_for(self.answers, "the server to answer PING")

    def answers(self):
        try:
            return self.ask("PING") is not None
        except redis.exceptions.BusyLoadingError:
            return True # it is there, and says so
        except redis.exceptions.ConnectionError:
            return False
        except redis.exceptions.RedisError:
            return True

    def ask(self, *words):
        """One command of the harness; raw bytes come back."""
        with redis.Redis(unix_socket_path=self.socket, socket_timeout=10) as link:
            link.response_callbacks.clear()
            return link.execute_command(*words)

    @property
    def url(self):
        return f"redis://{self.room.address}:6379"

    def forget(self):
        """Empty at its next start."""
        for folder, _, names in os.walk(self.data):
            for name in names:
                os.unlink(os.path.join(folder, name))


class Sentinel(Process):
    """It watches `master` under the name "brakewire", with others like it."""

    def __init__(self, house, name, room, master):
        super().__init__(house, name, room)
        self.file = os.path.join(house.folder, name + ".conf")
        with open(self.file, "w", encoding="ascii") as out:
            out.write(f"port 26379\nprotected-mode no\ndir {house.folder}\n"
                      f"sentinel monitor brakewire {master.room.address} 6379 2\n"
                      "sentinel down-after-milliseconds brakewire 1000\n"
                      "sentinel failover-timeout brakewire 5000\n")
        self.launch([house.server_program, self.file, "--sentinel"])


class Daemon(Process):
    def __init__(self, house, program, name, room, options):
        super().__init__(house, name, room)
        self.socket = os.path.join(house.folder, name + ".sock")
        self.argv = [os.path.join(house.build, "bin", program), f"--socket={self.socket}",
                     "--log-level=info", *options]

    def upgrade(self, program):
        """Another program from its next start on."""
        self.argv[0] = os.path.join(self.house.build, "bin", program)

    def begin(self):
        self.launch(self.argv)

    def again(self):
        self.house.note("fault", who=self.name, fault="started again")
        self.begin()

    def memory_kib(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


class House:
    """The servers and daemons of one scenario, and the story: everything that anybody saw."""

    LEASE_MS = 1500
    AGENTD_OPTIONS = {"lease": "1500ms", "lost-grace": "500ms", "grace-notify": "400ms",
                      "grace-term": "300ms", "kill-patience": "1s"}
    BROKER_OPTIONS = {"lease": "1500ms", "lost-grace": "500ms", "sweep": "200ms", "listen": ""}

    def __init__(self, folder, build, server_program):
        self.folder, self.build, self.server_program = folder, build, server_program
        self.all_rooms, self.sentinels = [], []
        self.story, self.rooms, self.servers, self.agentds, self.brokers = [], 0, [], [], []
        self.began = time.monotonic()
        ip_batch("link set lo up", "link add street type bridge",
                 "addr add 10.7.255.254/16 dev street", "link set street up")

    # ---- the story -------------------------------------------------------------------------

    def note(self, what, **more):
        self.story.append({"at": time.monotonic(), "what": what, **more})

    def wait_for(self, condition, what, within=15.0):
        """Looks without leaving the thread: for beginnings, when nobody else has anything to do."""
        until = time.monotonic() + within
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"waited {within:.0f} s in vain for {what}")
            time.sleep(0.005)

    # ---- who lives here --------------------------------------------------------------------

    def room(self):
        self.rooms += 1
        self.all_rooms.append(Room(self.rooms))
        return self.all_rooms[-1]

    def move_address(self, address, to, away=None):
        """An address of a service goes to another room, and nobody remembers where it was."""
        if away is not None:
            away.ip(f"addr del {address}/16 dev eth0")
        to.ip(f"addr add {address}/16 dev eth0")
        for room in self.all_rooms:
            room.ip("neigh flush all")

    def server(self, *options, disk_mib=0):
        server = Server(self, f"redis{len(self.servers)}", self.room(), options, disk_mib)
        self.servers.append(server)
        return server

    def sentinel(self, master):
        self.sentinels.append(Sentinel(self, f"sentinel{len(self.sentinels)}", self.room(), master))
        return self.sentinels[-1]

    @staticmethod
    def flags(defaults, more):
        return [f"--{name}={value}" for name, value in {**defaults, **more}.items()
                if value is not None]

    def agentd(self, server=None, room=None, program="brakewire-agentd", **options):
        url = {"redis-url": (server or self.servers[0]).url}
        flags = self.flags({**url, **self.AGENTD_OPTIONS},
                           {k.replace("_", "-"): v for k, v in options.items()})
        daemon = Daemon(self, program, f"agentd{len(self.agentds)}",
                        room or self.room(), flags)
        self.agentds.append(daemon)
        daemon.begin()
        return daemon

    def broker(self, server=None, program="brakewire-broker", **options):
        url = {"redis-url": (server or self.servers[0]).url}
        flags = self.flags({**url, **self.BROKER_OPTIONS},
                           {k.replace("_", "-"): v for k, v in options.items()})
        daemon = Daemon(self, program, f"broker{len(self.brokers)}", self.room(), flags)
        self.brokers.append(daemon)
        daemon.begin()
        return daemon

    @property
    def redis(self):
        return self.servers[0]
