"""The real programs: how each is started, put under load and ended, and what is expected of it.

A program is a function of a Session (run) that starts it, loads it and ends it; PROGRAMS at the end lists them."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

from kernel import close_wait_rows, plain, wait_until
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


# --- idle is not stuck ---

IDLE_CLIENTS = 4


def own_rows(pids):
    """{(local, peer)} of the sockets that these have in CLOSE_WAIT, by ss."""
    return {(local, peer) for local, peer, users, _ in close_wait_rows() if {pid for pid, _ in users} & set(pids)}


def ask_tool(session, pid):
    """The JSON of `cwguard report PID`."""
    words = [f'{session.build}/cwguard', 'report', str(pid), '--format', 'json', '--grace', '100ms', '--ledger-dir',
             session.ledgers]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Failure(f'cwguard report {pid} ended with {done.returncode}: {done.stderr}')
    return json.loads(done.stdout)


def check_diagnosis(what, report, diagnosis, sockets):
    """These sockets and no others, all of one diagnosis."""
    pairs = [(connection['local'], connection['peer'])
             for group in report['leaks'] for connection in group['connections']]
    if sorted(plain_pair(pair) for pair in pairs) != sorted(plain_pair(pair) for pair in sockets):
        raise Failure(f'{what}: listed {sorted(pairs)}, by ss {sorted(sockets)}; {report["totals"]}')
    found = {group['diagnosis']: group['next'] for group in report['leaks']}
    if set(found) != {diagnosis}:
        raise Failure(f'{what}: found {found}, expected {diagnosis}')


def plain_pair(pair):
    return tuple(plain(address) for address in pair)


def idle_runtime(diagnosis, *words, more_bytes=0):
    """A server whose threads are idle, not stuck, with its clients' sockets left in CLOSE_WAIT: as seen from outside
    while it runs, and at its end. more_bytes: sent by each client after its answer."""
    def program(session, ending):
        session.start([word.replace('{here}', HERE) for word in words], options='exit_grace=100ms')
        port = int(session.line())
        clients = [socket.create_connection(('127.0.0.1', port), 30) for _ in range(IDLE_CLIENTS)]
        for client in clients:
            client.sendall(b'hello\n')
            if client.recv(64) != b'ok\n':
                raise Failure('no answer')
        for client in clients:
            client.sendall(b'x' * more_bytes)
            client.close()
        wait_until(f'{IDLE_CLIENTS} sockets in CLOSE_WAIT', lambda: len(own_rows(session.pids())) == IDLE_CLIENTS)
        by_ss = own_rows(session.pids())
        session.wait_age(0.5)
        if session.shim:
            check_diagnosis('while it runs', ask_tool(session, session.process.pid), diagnosis, by_ss)
        session.end(ending)
        if session.shim:
            session.expect_sockets('leaks', by_ss)
            check_diagnosis('at its end', session.reports()[0], diagnosis, by_ss)
    return program


# --- a snapshot child ---

def redis_snapshot(session, ending):
    """Clients leave while the snapshot is written: the server closes their connections, the child has copies."""
    port, count = free_port(), 5
    session.start(['redis-server', '--port', str(port), '--bind', '127.0.0.1', '--dir', session.work, '--save', '',
                   '--rdb-key-save-delay', '60000000', '--logfile', f'{session.work}/redis.log'],
                  options='exit_grace=100ms')
    wait_until('redis answers', lambda: answers(port))
    clients = [socket.create_connection(('127.0.0.1', port), 20) for _ in range(count)]
    for client, words in zip(clients, (b'SET a b\r\n', b'PING\r\n', b'PING\r\n', b'PING\r\n', b'BGSAVE\r\n')):
        client.sendall(words)
        if not client.recv(64).startswith(b'+'):
            raise Failure(f'no answer to {words}')
    wait_until('a snapshot child', lambda: len(session.pids()) == 2)
    (child,) = set(session.pids()) - {session.process.pid}
    for client in clients:
        client.close()
    wait_until('the child\'s copies in CLOSE_WAIT',
               lambda: len(own_rows([child])) == count and not own_rows([session.process.pid]), 30)
    by_ss = own_rows([child])
    session.wait_age(0.5)
    if session.shim:
        check_snapshot('cwguard report CHILD', ask_tool(session, child), child, session.process.pid, by_ss)
        if ask_tool(session, session.process.pid)['totals']['leaked']:
            raise Failure('the server is said to leak what it has closed')
    session.end(ending)
    if session.shim:
        session.expect_sockets('leaks', by_ss)
        check_snapshot('at its end', session.reports()[0], child, session.process.pid, by_ss)


def check_snapshot(what, report, child, server, by_ss):
    check_diagnosis(what, report, 'held-elsewhere', by_ss)
    if report['process']['pid'] != child:
        raise Failure(f'{what}: the report is of process {report["process"]["pid"]}, the child is {child}')
    for group in report['leaks']:
        if group['holders']:  # of others than the child
            raise Failure(f'{what}: held by {group["holders"]}, but the server has closed them')
        if not (group['deciding'] and group['deciding']['call'] == 'fork'):
            raise Failure(f'{what}: decided at {group["deciding"]}, expected where the server forked')
        parents = [entry['value'] for entry in group['evidence'] if entry['key'] == 'parent']
        if parents != [server]:
            raise Failure(f'{what}: evidence of the parent {parents}, expected {server}')


# --- a program that the library cannot be loaded into ---

def go_outside(*flags):
    """A Go server, static: without the shim in it cwguard report says what can be known from outside. flags: of go build."""
    def program(session, ending):
        env = dict(os.environ, CGO_ENABLED='0', GOCACHE=f'{session.build}/real/go-cache')
        subprocess.run(['go', 'build', *flags, '-o', f'{session.work}/leak', f'{HERE}/leak.go'], env=env, check=True,
                       timeout=300)
        session.start([f'{session.work}/leak', 'spin'])
        pid = int(session.line())
        wait_until('3 sockets in CLOSE_WAIT', lambda: len(own_rows([pid])) == 3)
        if session.shim:
            check_go(json.loads(subprocess.run([f'{session.build}/cwguard', 'report', str(pid), '--format=json', '--grace=0'],
                                               capture_output=True, text=True, timeout=60, check=True).stdout), pid)
        session.end(ending)
    return program


def check_go(report, pid):
    by_ss = own_rows([pid])
    found = {(c['local'], c['peer']) for group in report['leaks'] for c in group['connections'] if c['fd'] is not None}
    if {plain_pair(pair) for pair in found} != {plain_pair(pair) for pair in by_ss}:
        raise Failure(f'listed {sorted(found)}, by ss {sorted(by_ss)}')
    counts = {}
    for group in report['leaks']:
        counts[group['diagnosis']] = counts.get(group['diagnosis'], 0) + group['count']
    if counts != {'untracked': 3, 'never-accepted': 2}:
        raise Failure(f'found {counts}')
    stacks = [[frame['function'] for frame in thread['frames'] or ()] for thread in report['threads']]
    for wanted in (['main.spin', 'runtime.goexit'], ['runtime.usleep', 'runtime.sysmon', 'runtime.mstart1']):
        if not any(stack[:len(wanted)] == wanted for stack in stacks):
            raise Failure(f'{wanted} is nowhere in {stacks}')
    if any(not stack or not all(stack) for stack in stacks):
        raise Failure(f'frames without a name: {stacks}')
    (spinning,) = [t['frames'][0] for t in report['threads'] if t['frames'][0]['function'] == 'main.spin']
    with open(f'{HERE}/leak.go', encoding='utf-8') as source:
        text = source.read().splitlines()[spinning['line'] - 1]
    if not spinning['file'].endswith('leak.go') or 'i' not in text:
        raise Failure(f'main.spin is said to be at {spinning["file"]}:{spinning["line"]}: {text}')


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
    ('idle.python-sleep', idle_runtime('abandoned', PYTHON, '{here}/sleeper.py', str(IDLE_CLIENTS)), signal.SIGTERM,
     (PYTHON,)),
    ('idle.python-pool', idle_runtime('abandoned', PYTHON, '{here}/executor.py', str(IDLE_CLIENTS)), signal.SIGTERM,
     (PYTHON,)),
    ('idle.node-halfopen', idle_runtime('eof-not-closed', 'node', '{here}/halfopen.js'), signal.SIGTERM, ('node',)),
    ('idle.node-paused', idle_runtime('unwatched', 'node', '{here}/paused.js', more_bytes=80000), signal.SIGTERM,
     ('node',)),
    ('idle.java-pool', idle_runtime('abandoned', 'java', '{here}/Pool.java', str(IDLE_CLIENTS)), signal.SIGTERM,
     ('java',)),
    ('redis.snapshot', redis_snapshot, signal.SIGTERM, ('redis-server',)),
    ('go.outside', go_outside(), signal.SIGTERM, ('go',)),
    ('go.outside-stripped', go_outside('-ldflags=-s -w'), signal.SIGTERM, ('go',)),
]
