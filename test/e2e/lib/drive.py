"""Drives an example program: starts it, speaks to it in named steps, waits for the state that it comes to.

A step is a word with arguments, quoted as in a shell, \\r and \\n replaced: `clients 20; settle`. Each is a method of
Steps. The clients are sockets of this process, so that ss attributes only one end to the program."""
import os
import select
import shlex
import signal
import socket
import struct
import subprocess
import time

import kernel

GET = 'GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n'
PATIENCE_S = 20


class Program:
    """A running example. ports: the port of each "NAME PORT" line that it printed; the one it serves is `ready`."""

    def __init__(self, path, env, folder):
        with open(f'{folder}/stderr', 'wb') as errors:
            self.process = subprocess.Popen([f'./{os.path.basename(path)}', '0'], cwd=os.path.dirname(path), env=env,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                            start_new_session=True)
        self.pid = self.process.pid
        self.ports = {}
        words = []
        while 'ready' not in self.ports:
            readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
            chunk = os.read(self.process.stdout.fileno(), 4096).decode() if readable else ''
            if not chunk:
                self.kill()
                raise OSError(f'the program did not get ready; see {folder}/stderr')
            words += chunk.split()
            self.ports = dict(zip(words[::2], map(int, words[1::2])))

    def close_wait(self):
        """{(local, peer)} of its sockets in CLOSE_WAIT, those in its listeners' queues included, as ss says."""
        pids = kernel.tree(self.pid)
        return {(local, peer) for local, peer, users, _ in kernel.close_wait_rows()
                if any(pid in pids for pid, _ in users) or
                (not users and int(local.rpartition(':')[2]) in self.ports.values())}

    def established(self):
        """What ss says of its connections that neither side has closed."""
        out = subprocess.run(['ss', '-tanpH', 'state', 'established'], capture_output=True, text=True, check=True).stdout
        return [line for line in out.splitlines() if f'pid={self.pid},' in line]

    def failed(self):
        """{(pid, fd)} of its TCP sockets that are in state CLOSE: in /proc/PID/fd, and in no list of the kernel's."""
        found = set()
        for pid in kernel.tree(self.pid):
            listed = set()
            for name in ('tcp', 'tcp6', 'udp', 'udp6', 'unix', 'netlink'):
                with open(f'/proc/{pid}/net/{name}', encoding='ascii', errors='replace') as file:
                    listed.update(word for line in file for word in line.split())
            for entry in os.listdir(f'/proc/{pid}/fd'):
                try:
                    target = os.readlink(f'/proc/{pid}/fd/{entry}')
                except OSError:
                    continue
                if target.startswith('socket:[') and target[8:-1] not in listed:
                    found.add((pid, int(entry)))
        return found

    def wait_quiet(self):
        """Returns once all its threads have slept, without ever waking, for 100 ms: whatever was to happen has."""
        last, since = None, 0.0

        def quiet():
            nonlocal last, since
            now = {pid: _activity(pid) for pid in kernel.tree(self.pid)}
            if now != last or not all(_asleep(tasks) for tasks in now.values()):
                last, since = now, time.monotonic()
            return time.monotonic() - since >= 0.1
        kernel.wait_until('the program to come to rest', quiet, PATIENCE_S)

    def end(self):
        """Ends it as an administrator would; its exit status (negative: signal)."""
        pids = kernel.tree(self.pid)
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        kernel.wait_until('its children to end', lambda: not any(os.path.exists(f'/proc/{pid}') for pid in pids), PATIENCE_S)
        return status

    def kill(self):
        """Whatever is left of it and of what it has forked."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()


def _activity(pid):
    """{tid: (state, context switches)}."""
    found = {}
    try:
        tids = os.listdir(f'/proc/{pid}/task')
    except OSError:
        return found
    for tid in tids:
        fields = [kernel.status_field(f'{pid}/task/{tid}', name)
                  for name in ('State', 'voluntary_ctxt_switches', 'nonvoluntary_ctxt_switches')]
        found[tid] = tuple(fields)
    return found


def _asleep(tasks):
    return all((fields[0] or 'X')[0] in 'SZX' for fields in tasks.values())


class Steps:
    """One method per step."""

    def __init__(self, program):
        self.program = program
        self.sockets = []

    def run(self, text):
        for step in text.split(';'):
            word, *arguments = shlex.split(step)
            getattr(self, word)(*arguments)

    def open(self, count, port='ready'):
        """Connects COUNT clients to the program's port of that name."""
        for _ in range(int(count)):
            self.sockets.append(socket.create_connection(('127.0.0.1', self.program.ports[port]), PATIENCE_S))

    def greet(self):
        """Every client waits for the program to say something."""
        for client in self.sockets:
            if not client.recv(65536):
                raise OSError('the program closed before it had said anything')

    def tell(self, request=GET, which='-1'):
        """One client, the last by default, sends a request and waits for nothing."""
        self.sockets[int(which)].sendall(_bytes(request))

    def ask(self, request=GET):
        """Every client sends a request; then every client waits for its answer."""
        for client in self.sockets:
            client.sendall(_bytes(request))
        self.greet()

    def say(self, request=GET):
        """Every client sends a request; none waits for an answer."""
        for client in self.sockets:
            client.sendall(_bytes(request))

    def halfclose(self):
        """Every client closes its direction and goes on listening."""
        for client in self.sockets:
            client.shutdown(socket.SHUT_WR)

    def hear(self, times):
        """Every client reads so many times, or until the program closes."""
        for _ in range(int(times)):
            for client in self.sockets:
                client.recv(65536)

    def close(self):
        """Every client reads what is there and closes."""
        for client in self.sockets:
            client.setblocking(False)
            try:
                while client.recv(65536):
                    pass
            except OSError:
                pass
            client.close()
        self.sockets = []

    def reset(self):
        """Every client closes with a RST in place of a FIN."""
        for client in self.sockets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            client.close()
        self.sockets = []

    def clients(self, count, request=GET):
        """COUNT clients connect, ask, read the answer and close."""
        self.open(count)
        self.ask(request)
        self.close()

    def silent(self, count, port='ready'):
        """COUNT clients connect and close."""
        self.open(count, port)
        self.close()

    def settle(self):
        """Waits until the program has done what it had to do."""
        self.program.wait_quiet()

    def ended(self):
        """Waits until none of the program's connections is established any more."""
        kernel.wait_until('its connections to end', lambda: not self.program.established(), PATIENCE_S)

    def cross(self, first, second):
        """Two clients send two requests at the same moment, again and again, until the program answers no more; then
        they close."""
        self.open(2)
        for _ in range(20):
            for client, request in zip(self.sockets, (first, second)):
                client.sendall(_bytes(request))
            waiting = set(self.sockets)
            while waiting:
                readable, _, _ = select.select(list(waiting), [], [], 1.0)
                if not readable:
                    self.settle()
                    self.close()
                    return
                for client in readable:
                    if not client.recv(65536):
                        raise OSError('the program closed in the middle')
                    waiting.discard(client)
        self.close()


def _bytes(text):
    return text.encode().decode('unicode_escape').encode('latin-1')
