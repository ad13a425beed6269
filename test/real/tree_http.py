"""nginx with four workers and apache2 prefork: under load, stopped, killed, stuck behind a silent backend."""
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.request

from kernel import status_field, wait_until
from tree import STALE_S, Server, free_port, hold_against, no_leak, require, wait_age

WORKERS = 4
GET = b'GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n'
SLOW = b'GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n'
MODULES = '/usr/lib/apache2/modules'


class SilentBackend:
    """Takes every request and answers none until it is told to."""

    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.waiting = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.waiting.append(connection)

    def close(self):
        """Answers everybody."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for connection in self.waiting:
            try:
                connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nok\n')
            except OSError:
                pass
            connection.close()


def nginx(build, work, listen='', main='daemon off;', backend=1, grace='0'):
    port = free_port()
    os.chmod(work, 0o777)
    with open(f'{work}/nginx.conf', 'w', encoding='utf-8') as file:
        file.write(f'''
{main}
worker_processes {WORKERS};
{"user nobody nogroup;" if os.geteuid() == 0 else ""}
pid {work}/nginx.pid;
error_log {work}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off; keepalive_timeout 60; keepalive_requests 1000000;
    client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
    uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
    server {{
        listen 127.0.0.1:{port} {listen};
        location /hello {{ return 200 "hello\\n"; }}
        location /status {{ stub_status; }}
        location /slow {{ proxy_pass http://127.0.0.1:{backend}; proxy_ignore_client_abort on; }}
    }}
}}
''')
    return Server(build, work, ['nginx', '-p', work, '-c', f'{work}/nginx.conf'], port, grace)


def apache(build, work, backend=1, grace='0'):
    """As many children as workers, neither more nor less."""
    port = free_port()
    os.chmod(work, 0o777)
    with open(f'{work}/hello', 'w', encoding='utf-8') as file:
        file.write('hello\n')
    with open(f'{work}/apache.conf', 'w', encoding='utf-8') as file:
        file.write(f'''
ServerRoot {work}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {work}/apache.pid
ErrorLog {work}/error.log
DefaultRuntimeDir {work}
{"User nobody" if os.geteuid() == 0 else ""}
{"Group nogroup" if os.geteuid() == 0 else ""}
LoadModule mpm_prefork_module {MODULES}/mod_mpm_prefork.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
LoadModule proxy_module {MODULES}/mod_proxy.so
LoadModule proxy_http_module {MODULES}/mod_proxy_http.so
StartServers {WORKERS}
MinSpareServers {WORKERS}
MaxSpareServers {WORKERS + 1}
ServerLimit {WORKERS}
MaxRequestWorkers {WORKERS}
MaxConnectionsPerChild 0
KeepAliveTimeout 60
MaxKeepAliveRequests 0
Timeout 60
DocumentRoot {work}
ProxyPass /slow http://127.0.0.1:{backend}/slow
''')
    return Server(build, work, ['apache2', '-D', 'FOREGROUND', '-d', work, '-f', f'{work}/apache.conf'], port, grace)


# --- load: nothing to report ---

def wrk(server, connections, *more):
    """A second of requests; returns how many were answered."""
    words = ['wrk', '-t1', f'-c{connections}', '-d1s', *more, f'http://127.0.0.1:{server.port}/hello']
    out = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    return int(re.search(r'(\d+) requests in', out).group(1))


def by_nobody(pids):
    return os.geteuid() != 0 or all((status_field(pid, 'Uid') or '').split()[1:2] == ['65534'] for pid in pids)


def nginx_load(build, work):
    server = nginx(build, work, grace='2s')
    try:
        workers = server.workers(WORKERS)
        served = wrk(server, 32) + wrk(server, 32, '-H', 'Connection: close')
        require(served > 1000, f'only {served} requests were answered')
        for pid in workers:
            server.connect_to(pid, workers, 3, GET)
        for client in server.clients:
            client.close()
        server.settled()
        require(by_nobody(workers), 'the workers are not nobody')
        with urllib.request.urlopen(f'http://127.0.0.1:{server.port}/status', timeout=10) as page:
            accepted = int(re.search(r'requests\n (\d+) ', page.read().decode()).group(1))
        server.settled()
        no_leak(server.ask(server.pids()), 'while it runs')
        report = server.end()
        no_leak(report, 'at its end')
        require(report['totals']['accepted'] == accepted, f"nginx has accepted {accepted}, {report['totals']}")
        by_pid = {process['pid']: process['connections'] for process in report['processes']}
        require(all(by_pid.get(pid, 0) >= 3 for pid in workers), f'workers {workers}: {by_pid}')
        require('cwguard' not in server.said(), server.said())
    finally:
        server.close()


def apache_load(build, work):
    server = apache(build, work, grace='2s')
    try:
        workers = server.workers(WORKERS)
        kept = wrk(server, WORKERS)
        short = wrk(server, 2 * WORKERS, '-H', 'Connection: close')
        require(kept > 200 and short > 200, f'only {kept} and {short} requests were answered')
        server.settled()
        require(by_nobody(workers), 'the workers are not nobody')
        no_leak(server.ask(server.pids()), 'while it runs')
        report = server.end()
        no_leak(report, 'at its end')
        # Each request of the second kind has had a connection of its own; those under way at the end are not counted.
        least, most = short + WORKERS, short + 4 * WORKERS + 8
        require(least <= report['totals']['accepted'] <= most, f"not {least} to {most}: {report['totals']}")
        require({pid for pid in workers} <= {process['pid'] for process in report['processes']}, 'not all workers')
        require('cwguard' not in server.said(), server.said())
    finally:
        server.close()


# --- stopped: what the kernel has, and nothing once they go on ---

def stopped(server, each, queued):
    """Every worker stands still with clients of its own, more of them wait; all leave. Returns what ss shows."""
    workers = server.workers(WORKERS)
    for pid in workers:
        server.connect_to(pid, workers, each, GET)
    server.signal_each(workers, signal.SIGSTOP)
    server.connect(queued, GET, answered=False)
    rows = server.leave()
    holders = {pid for row in rows for pid, _ in row[2]}
    require(holders == set(workers), f'clients of {holders}, not of each of {workers}')
    require(sum(not row[2] for row in rows) == queued, f'not {queued} are in the accept queue: {rows}')
    return workers, rows


def check_stopped(server, each, queued):
    workers, rows = stopped(server, each, queued)
    server.await_lines('owner-stuck', 'never-accepted')
    report = server.ask(server.pids())
    require(sorted(server.rows()) == sorted(rows), 'the sockets have changed')
    hold_against(report, rows, 'while they stand')
    server.signal_each(workers, signal.SIGCONT)
    server.settled()
    no_leak(server.ask(server.pids()), 'once they go on', late=True)
    no_leak(server.end(), 'at its end', late=True)


def case_stopped(start, each, queued):
    def case(build, work):
        server = start(build, work)
        try:
            check_stopped(server, each, queued)
        finally:
            server.close()
    return case


def nginx_reuseport(build, work):
    """A listener for each worker: which of them has whom in its queue cannot be told, but each is there once."""
    server = nginx(build, work, listen='reuseport')
    try:
        workers = server.workers(WORKERS)
        server.connect(40, GET)
        server.signal_each(workers, signal.SIGSTOP)
        server.connect(20, GET, answered=False)
        rows = server.leave()
        server.await_lines('owner-stuck', 'never-accepted')
        hold_against(server.ask(server.pids()), rows, 'while they stand')
        server.signal_each(workers, signal.SIGCONT)
        server.settled()
        no_leak(server.end(), 'at its end', late=True)
    finally:
        server.close()


# --- killed: as of the last look ---

def case_killed(start, each, queued):
    def case(build, work):
        server = start(build, work)
        try:
            workers, rows = stopped(server, each, queued)
            server.await_lines('owner-stuck', 'never-accepted')
            wait_age(STALE_S)
            victim = workers[1]
            held = [row for row in rows if victim in {pid for pid, _ in row[2]}]
            os.kill(victim, signal.SIGKILL)
            wait_until('it to be gone', lambda: victim not in server.pids())
            server.signal_each([pid for pid in workers if pid != victim], signal.SIGCONT)
            server.settled()
            report = server.end()
        finally:
            server.close()
        hold_killed(report, held, victim)
    return case


def hold_killed(report, held, victim):
    report = dict(report, totals=dict(report['totals']))
    hold_against(report, held, 'at its end')
    (process,) = [process for process in report['processes'] if process['pid'] == victim]
    require(process['truth'] == 'last-sweep' and process['truth_age_s'] <= STALE_S, f'{process}')
    require(process['ended']['how'] in ('signal', 'killed'), f"{process['ended']}")


# --- behind a backend that does not answer ---

def case_proxy(start, each, diagnosis):
    """The request is passed on, its client leaves, and nobody looks until the backend has answered."""
    def case(build, work):
        backend = SilentBackend()
        server = start(build, work, backend=backend.port)
        try:
            server.workers(WORKERS)
            server.connect(each * WORKERS, SLOW, answered=False)
            wait_until('every request to be passed on', lambda: len(backend.waiting) == each * WORKERS)
            rows = server.leave()
            require(all(row[2] for row in rows), f'not accepted: {rows}')
            server.await_lines(diagnosis)
            report = server.ask(server.pids())
            require(sorted(server.rows()) == sorted(rows), 'the sockets have changed')
            hold_against(report, rows, 'while the backend is silent')
            require({group['diagnosis'] for group in report['leaks']} == {diagnosis},
                    f"{[(group['diagnosis'], group['count']) for group in report['leaks']]}")
            backend.close()
            server.settled()
            no_leak(server.end(), 'at its end', late=True)
        finally:
            server.close()
    return case


# --- a daemon ---

def daemon(build, work, grace):
    """As nginx is usually started: the first process ends at once. Returns the server and its main process."""
    server = nginx(build, work, main='daemon on;', grace=grace)
    try:
        wait_until('its pid file', lambda: os.path.exists(f'{work}/nginx.pid') and os.path.getsize(f'{work}/nginx.pid'))
        with open(f'{work}/nginx.pid', encoding='ascii') as file:
            main = int(file.read())
        server.main = main
        # The main one has not touched a socket since it was forked, and has written its title over its environment.
        wait_until('run to say that it follows them', lambda: 'following 5 processes' in server.said())
    except BaseException:
        server.close()
        raise
    return server, main


def nginx_daemon(build, work):
    """Reported as it stands when run is told to stop."""
    server, _ = daemon(build, work, '0')
    try:
        workers, rows = stopped(server, 2, 3)
        server.await_lines('owner-stuck', 'never-accepted')
        hold_against(server.ask(workers), rows, 'the workers alone, while they stand')
        hold_against(server.end(stays=True), rows, 'when run is told to stop')
        require(sorted(server.rows()) == sorted(rows), 'the sockets have changed')
        server.signal_each(workers, signal.SIGCONT)
        server.settled()
    finally:
        server.close()


def nginx_daemon_ends(build, work):
    """It serves on when run is told to stop, and nobody takes in what it leaves: the workers leave nothing. (The main
    process begins to record as it ends; what it leaves is marked as reported.)"""
    server, main = daemon(build, work, '30s')
    try:
        workers = server.workers(WORKERS)
        for pid in workers:
            server.connect_to(pid, workers, 2, GET)
        no_leak(server.end(stays=True), 'when run is told to stop')
        server.connect(3, GET)
        os.kill(main, signal.SIGTERM)
        wait_until('nginx to end', lambda: not server.pids())
        left = [path for path in server.ledger_files() if f'.{main}.' not in path]
        require(not left, f'left behind by the daemon: {left}')
    finally:
        server.close()


NGINX, APACHE = ('nginx', 'wrk'), ('apache2', 'wrk', f'{MODULES}/mod_mpm_prefork.so')
CASES = {
    'nginx.load': (nginx_load, NGINX),
    'nginx.stopped': (case_stopped(nginx, 3, 7), NGINX),
    'nginx.reuseport': (nginx_reuseport, NGINX),
    'nginx.killed': (case_killed(nginx, 5, 4), NGINX),
    'nginx.proxy': (case_proxy(nginx, 4, 'event-ignored'), NGINX),
    'nginx.daemon': (nginx_daemon, NGINX),
    'nginx.daemon-ends': (nginx_daemon_ends, NGINX),
    'apache.load': (apache_load, APACHE),
    'apache.stopped': (case_stopped(apache, 1, 6), APACHE),
    'apache.killed': (case_killed(apache, 1, 3), APACHE),
    'apache.proxy': (case_proxy(apache, 1, 'abandoned'), APACHE),
}
