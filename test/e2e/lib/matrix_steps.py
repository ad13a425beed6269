"""What clients do in a cell of the matrix, cause by cause: each is a function of a Run (matrix_cells) and returns when
the victim has made its fault and its sockets are in the state that the report is to show."""
import socket

from process import Failure

CLIENTS = 3
GRACE_MS = 200


def answered_then_left(run):
    clients = run.connect()
    run.converse(clients)
    run.parked(CLIENTS)
    run.leave(clients)


def answered_idle_then_left(run):
    clients = run.connect()
    run.converse(clients)
    run.parked(CLIENTS)
    run.pass_time('idle clients', GRACE_MS / 1000)
    run.leave(clients)


def left_then_parked(run):
    clients = run.connect()
    run.converse(clients)
    run.leave(clients)
    run.parked(CLIENTS)


def reset_after_answer(run):
    clients = run.connect()
    run.converse(clients)
    run.reset(clients)
    run.parked(CLIENTS)


def only_connected(run):
    run.leave(run.connect())


def connected_then_parked(run):
    clients = run.connect()
    run.parked(1)
    run.leave(clients)


def behind_the_first(run):
    run.connect(1)
    run.parked(1)
    run.leave(run.connect())


def behind_one_that_was_served(run):
    first = run.connect(1)
    run.parked(1)
    run.converse(first)
    run.leave(run.connect())


def refused(run):
    clients = run.connect()
    run.parked(CLIENTS)
    for client in clients:
        run.answered(client)
    run.leave(clients)


def parked_then_left(run):
    clients = run.connect()
    run.parked(CLIENTS)
    run.leave(clients)


def parked_left_parked(run):
    parked_then_left(run)
    run.parked(CLIENTS)


def parked_answered_left(run):
    clients = run.connect()
    run.parked(CLIENTS)
    run.converse(clients)
    run.leave(clients)


def half_closed(run):
    clients = run.connect()
    run.converse(clients)
    run.leave(clients, half=True)
    run.parked(CLIENTS)
    for client in clients:  # it goes on sending
        run.answered(client, b'more\nmore\n')


def stuck(run):
    clients = run.connect()
    run.converse(clients)
    last = clients if run.cell.style == 'threads' else clients[:1]
    for client in last:
        run.ask(client, b'stuck')
    run.parked(len(last))
    run.leave(clients)


def snapshot(run):
    clients = run.connect()
    run.converse(clients)
    run.ask(clients[0], b'snapshot')
    run.child = run.reporter_pid = int(run.line('child'))
    run.answered(clients[0])
    run.leave(clients)


def by_backend(run, idle_s=0.0):
    ends = []
    for client in run.connect():
        run.ask(client)
        ends.append(run.serve_backend())
        run.answered(client)
    run.parked(CLIENTS)
    run.pass_time('the pool is idle', idle_s)
    run.leave(ends)


def by_backend_that_closes_at_once(run):
    """The FIN comes with the answer, before the victim has read its part of it."""
    for client in run.connect():
        run.ask(client)
        run.sockets.add(run.pair(run.serve_backend(closes=True)))
        run.answered(client)
    run.parked(CLIENTS)
    run.in_close_wait()


def by_backend_idle(run):
    by_backend(run, 1.2)
