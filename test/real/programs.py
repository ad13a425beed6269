"""The real programs: how each is started, put under load and ended, and what is expected of it.

A program is a function of a Session (run) that starts it, loads it and ends it; PROGRAMS at the end lists them."""
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

from kernel import close_wait_rows, wait_until
from process import Failure

PYTHON = '/usr/bin/python3'
HERE = os.path.dirname(os.path.abspath(__file__))


def tools(*names):
    """The reason why a program cannot be tested here, or None."""
    for name in names:
        if not (shutil.which(name) or os.path.exists(name)):
            return f'{name} is not installed'
    return None


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(('127.0.0.1', port), 1).close()
        return True
    except OSError:
        return False


def wrk(port, *more):
    """Two seconds of requests; returns how many were answered."""
    words = ['wrk', '-t2', '-c64', '-d2s', *more, f'http://127.0.0.1:{port}/']
    out = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    return int(re.search(r'(\d+) requests in', out).group(1))


def load_http(port):
    """Requests over kept connections, thousands of short connections, clients that leave in the middle, curl."""
    served = wrk(port) + wrk(port, '-H', 'Connection: close')
    for _ in range(200):
        with socket.create_connection(('127.0.0.1', port), 5) as client:
            client.sendall(b'GET / HT')
    done = subprocess.run(['curl', '-sS', '-o', '/dev/null', f'http://127.0.0.1:{port}/'], timeout=20, check=False)
    if done.returncode != 0:
        raise Failure(f'curl ended with {done.returncode}')
    if served < 2000:
        raise Failure(f'only {served} requests were answered')


def settled(pids):
    """Waits until ss shows no CLOSE_WAIT of these: what the clients left behind has been cleared away."""
    def none():
        return not [row for row in close_wait_rows() if {pid for pid, _ in row[2]} & set(pids)]
    wait_until('no socket in CLOSE_WAIT', none, 30)


def nginx(session, ending):
    port = free_port()
    work = session.work
    os.chmod(work, 0o777)
    with open(f'{work}/nginx.conf', 'w', encoding='utf-8') as file:
        file.write(f'''
daemon off;
worker_processes 2;
{"user nobody nogroup;" if os.geteuid() == 0 else ""}
pid {work}/nginx.pid;
error_log {work}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
    uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello\\n"; }} }}
}}
''')
    session.start(['nginx', '-p', work, '-c', f'{work}/nginx.conf'])
    wait_until('nginx answers', lambda: answers(port))
    if session.loaded:
        load_http(port)
        wait_until('three processes of nginx', lambda: len(session.pids()) == 3)
        settled(session.pids())
        session.ask_each(connections=2000, unseen=0, quiet_ones=1)
    session.end(ending)
    if session.shim:
        with open(f'{work}/error.log', encoding='utf-8') as file:
            text = file.read()
        if 'cwguard' in text:
            raise Failure(f'the shim wrote into the error log: {text}')


def redis(session, ending):
    port = free_port()
    drop = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] if os.geteuid() == 0 else []
    os.chmod(session.work, 0o777)
    session.start(['redis-server', '--port', str(port), '--bind', '127.0.0.1', '--dir', session.work, '--save', '',
                   '--logfile', f'{session.work}/redis.log'], around=drop,
                  options='exit_grace=2s')  # the snapshot child may see the client that asked for it leave
    wait_until('redis answers', lambda: answers(port))
    if session.loaded:
        for words in ('-n 50000 -t set,get', '-n 3000 -k 0 -t ping'):  # kept connections, then one for each request
            subprocess.run(['redis-benchmark', '-q', '-c', '50', '-p', str(port), *words.split()], timeout=120,
                           check=True, capture_output=True)
        subprocess.run(['redis-cli', '-p', str(port), 'bgsave'], timeout=20, check=True, capture_output=True)
        wait_until('the snapshot is written', lambda: os.path.exists(f'{session.work}/dump.rdb'))
        wait_until('the snapshot child is gone', lambda: len(session.pids()) == 1)
        settled(session.pids())
        session.ask_each(connections=3000, unseen=0)
    session.end(ending)


def python_http(session, ending):
    port = free_port()
    session.start([PYTHON, '-m', 'http.server', '--bind', '127.0.0.1', str(port)])
    wait_until('http.server answers', lambda: answers(port))
    if session.loaded:
        served = wrk(port)
        for _ in range(300):
            subprocess.run(['curl', '-sS', '-o', '/dev/null', f'http://127.0.0.1:{port}/'], timeout=20, check=True)
        if served < 500:
            raise Failure(f'only {served} requests were answered')
        settled(session.pids())
        session.ask_each(connections=800, unseen=0)
    session.end(ending)


def node_http(session, ending):
    session.start(['node', os.path.join(HERE, 'hello.js')])
    port = int(session.line())
    if session.loaded:
        load_http(port)
        settled(session.pids())
        session.ask_each(connections=2000, unseen=session.most_unseen)
    session.end(ending)


class IdleServer:
    """Answers one request on each connection, keeps it open, and closes all of them when told."""

    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.connections = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    @staticmethod
    def _answer(connection):
        request = b''
        while b'\r\n\r\n' not in request:
            request += connection.recv(4096)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n')

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for connection in self.connections:
            connection.close()


def urllib3_pool(session, ending):
    """ending "normal": Python closes the pool while it finalises, late; a signal: it leaks."""
    count, server = 7, IdleServer()
    session.start([PYTHON, os.path.join(HERE, 'pool.py'), str(server.port), str(count)],
                  options='exit_grace=0:grace=1s')
    pid = int(session.line().split()[1])
    server.close()

    def idle():
        rows = [(local, peer) for local, peer, users, _ in close_wait_rows() if pid in {user for user, _ in users}]
        return rows if len(rows) == count else None
    by_ss = set(wait_until(f'{count} sockets in CLOSE_WAIT', idle))
    session.wait_age(1.5)
    if ending == 'normal':
        session.say('go')
        session.end(None)
    else:
        session.end(ending)
    if session.shim:
        session.expect_sockets('closed_late' if ending == 'normal' else 'leaks', by_ss)


PROGRAMS = [
    ('nginx.quit', nginx, signal.SIGQUIT, ('nginx', 'wrk', 'curl')),
    ('nginx.term', nginx, signal.SIGTERM, ('nginx', 'wrk', 'curl')),
    ('redis.term', redis, signal.SIGTERM, ('redis-server', 'redis-benchmark', 'redis-cli')),
    ('redis.int', redis, signal.SIGINT, ('redis-server', 'redis-benchmark', 'redis-cli')),
    ('python.term', python_http, signal.SIGTERM, (PYTHON, 'wrk', 'curl')),
    ('python.int', python_http, signal.SIGINT, (PYTHON, 'wrk', 'curl')),
    ('node.term', node_http, signal.SIGTERM, ('node', 'wrk', 'curl')),
    ('urllib3.term', urllib3_pool, signal.SIGTERM, (PYTHON, '/usr/lib/python3/dist-packages/urllib3')),
    ('urllib3.normal', urllib3_pool, 'normal', (PYTHON, '/usr/lib/python3/dist-packages/urllib3')),
]
