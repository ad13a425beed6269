"""Servers in Python that fork: a process for each connection, multiprocessing, gunicorn."""
import collections
import os
import signal

from kernel import wait_until
from programs import HERE, PYTHON
from tree import STALE_S, Server, free_port, hold_against, listed, require, wait_age

CLIENTS = 6
WORKERS = 4


def case_forking(mode, number):
    """Asked while it runs, and ended in all its processes by the signal: what ss shows, each socket once."""
    def case(build, work):
        server = Server(build, work, [PYTHON, os.path.join(HERE, 'forking.py'), mode])
        try:
            server.connect(CLIENTS, b'hello\n')
            server.leave()
            main = server.pids()[0]
            rows = wait_until(f"sockets to be {mode}", lambda: are(mode, server.rows(), main))
            server.await_any_line()
            hold_against(server.ask(server.pids()), rows, 'while it runs')
            if number == signal.SIGKILL or mode == 'kept':  # who has ended so much earlier is named no more
                wait_age(STALE_S)
            require(sorted(server.rows()) == sorted(rows), 'the sockets have changed')
            report = server.end_each(number)
        finally:
            server.close()
        hold_against(report, rows, 'at its end')
        stale = [p for p in report['processes'] if p['truth'] == 'last-sweep' and (p['truth_age_s'] or 0) > STALE_S]
        require(not stale, f'older than {STALE_S} s: {stale}')
    return case


def are(mode, rows, main):
    """The rows, if the case is what it says. (A child that has answered takes its time to end.)"""
    users = [{pid for pid, _ in row[2]} for row in rows]
    if mode == 'stuck':
        right = all(len(pids) == 1 and main not in pids for pids in users)
    elif mode == 'kept':
        right = all(pids == {main} for pids in users)
    else:
        right = all(main in pids for pids in users) and max(map(len, users)) > CLIENTS
    return rows if right else None


def gunicorn(build, work):
    port = free_port()
    server = Server(build, work, ['gunicorn', '-w', str(WORKERS), '-b', f'127.0.0.1:{port}', '--chdir', HERE,
                                  '--worker-tmp-dir', work, 'hoarder:application'], port)
    try:
        workers = server.workers(WORKERS)
        for pid in workers:
            server.connect_to(pid, workers, 3, b'GET / HTTP/1.0\r\n\r\n')
        rows = server.leave()
        require({pid for row in rows for pid, _ in row[2]} == set(workers), f'not of all workers: {rows}')
        server.await_any_line()
        hold_against(server.ask(server.pids()), rows, 'while it runs')
        report = server.end()
    finally:
        server.close()
    # Python closes what is open when it ends in order.
    late = collections.Counter((c['local'], c['peer']) for c in listed(report, ('closed_late',)))
    require(not report['leaks'] and late == collections.Counter(row[:2] for row in rows),
            f"leaks {len(report['leaks'])}, closed late {late}, by ss before {rows}")


CASES = {
    'python.stuck': (case_forking('stuck', signal.SIGTERM), (PYTHON,)),
    'python.stuck-killed': (case_forking('stuck', signal.SIGKILL), (PYTHON,)),
    'python.kept': (case_forking('kept', signal.SIGTERM), (PYTHON,)),
    'python.inherited': (case_forking('inherited', signal.SIGTERM), (PYTHON,)),
    'python.inherited-killed': (case_forking('inherited', signal.SIGKILL), (PYTHON,)),
    'gunicorn.kept': (gunicorn, ('gunicorn',)),
}
