"""The other end of a victim's connections: sockets of the runner's own process, so that ss attributes only one end to
the victim. A victim asks for what it needs by a line on its control channel; a method below answers each."""
import os
import socket
import struct
import threading
import time

from kernel import all_ends, close_wait_rows, plain, ss_address, wait_until

FAMILIES = {'4': (socket.AF_INET, '127.0.0.1'), '6': (socket.AF_INET6, '::1'), 'mapped': (socket.AF_INET, '127.0.0.1')}


class Peers:
    def __init__(self):
        self.clients = []
        self.listener = None
        self.fin_at = 0.0

    def connect(self, port, count, family='4', receive_buffer=0):
        kind, host = FAMILIES[family]
        if all(client.fileno() < 0 for client in self.clients):
            self.clients = []
        for _ in range(int(count)):
            client = socket.socket(kind, socket.SOCK_STREAM)
            if int(receive_buffer):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(receive_buffer))
            client.connect((host, int(port)))
            self.clients.append(client)
        return 'ok'

    def serve(self, family='4'):
        kind, host = FAMILIES[family]
        self.listener = socket.socket(kind, socket.SOCK_STREAM)
        self.listener.bind((host, 0))
        self.listener.listen(128)
        return str(self.listener.getsockname()[1])

    def accept(self, count):
        self.listener.settimeout(20)
        for _ in range(int(count)):
            self.clients.append(self.listener.accept()[0])
        return 'ok'

    def send(self, index, count):
        self.clients[int(index)].sendall(b'x' * int(count))
        return 'ok'

    def recv(self, index, count):
        left = int(count)
        self.clients[int(index)].settimeout(20)
        while left > 0:
            chunk = self.clients[int(index)].recv(left)
            if not chunk:
                raise OSError('the victim closed before it had sent everything')
            left -= len(chunk)
        return 'ok'

    def _wait_close_wait(self, ends):
        def reached():
            now = {(plain(local), plain(peer)) for local, peer, _, _ in close_wait_rows(owners=False)}
            return ends <= now
        wait_until(f'CLOSE_WAIT of {sorted(ends)}', reached)
        self.fin_at = time.monotonic()

    def fin(self, first='0', count='-1'):
        """Closes clients (all by default), answers once the kernel has the victim's ends in CLOSE_WAIT."""
        stop = len(self.clients) if int(count) < 0 else int(first) + int(count)
        ends = set()
        for client in self.clients[int(first):stop]:
            if client.fileno() < 0:
                continue
            ends.add((ss_address(client.getpeername()), ss_address(client.getsockname())))
            client.setblocking(False)
            try:
                while client.recv(65536):
                    pass
            except OSError:
                pass
            client.close()
        self._wait_close_wait(ends)
        return 'ok'

    def halfclose(self):
        """Like fin, but the clients stay open: they still acknowledge probes, and read nothing."""
        ends = set()
        for client in self.clients:
            ends.add((ss_address(client.getpeername()), ss_address(client.getsockname())))
            client.shutdown(socket.SHUT_WR)
        self._wait_close_wait(ends)
        return 'ok'

    def reset(self):
        """Ends every client's connection by a RST; answers once the victim's ends are in no list of the kernel."""
        ends = set()
        for client in self.clients:
            ends.add((plain(ss_address(client.getpeername())), ss_address(client.getsockname())))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            client.close()
        wait_until(f'the end of {sorted(ends)}', lambda: not ends & all_ends())
        return 'ok'

    def bye(self):
        """Closes every client, waiting for nothing."""
        for client in self.clients:
            client.close()
        self.clients = []
        return 'ok'

    def age(self, milliseconds):
        """Answers once the last FIN is that old."""
        wait_until(f'a FIN {milliseconds} ms old', lambda: time.monotonic() - self.fin_at >= int(milliseconds) / 1000.0,
                   60)
        return 'ok'

    def hammer(self, port, threads, count):
        """`threads` at once connect and close `count` connections each."""
        failures = []

        def one():
            for _ in range(int(count)):
                try:
                    with socket.create_connection(('127.0.0.1', int(port)), 20) as client:
                        client.sendall(b'x')
                        client.recv(1)
                except OSError as error:
                    failures.append(error)
                    return
        workers = [threading.Thread(target=one) for _ in range(int(threads))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return 'ok' if not failures else f'failed {failures[0]}'

    def close_all(self):
        self.bye()
        if self.listener:
            self.listener.close()


class Activation:
    """Sockets that exist before the victim starts (inetd, systemd): made here, inherited by number."""

    def __init__(self, peers, kind):
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(16)
        if kind == 'listener':
            self.socket = listener
            return
        peers.connect(listener.getsockname()[1], 1)
        self.socket = listener.accept()[0]
        listener.close()

    def place(self, number):
        """In the child, before exec."""
        os.dup2(self.socket.fileno(), number, inheritable=True)
