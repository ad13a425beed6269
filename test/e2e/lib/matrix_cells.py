"""The cells of the matrix (test/e2e/matrix): the causes, how a cell is run, and what its report has to say.

A cause that cannot exist in a style says why: Cause.impossible."""
import glob
import json
import os
import select
import shlex
import signal
import socket
import struct
import subprocess
import time

from kernel import close_wait_rows, ss_address, wait_until
from matrix_steps import (CLIENTS, GRACE_MS, answered_idle_then_left, answered_then_left, behind_one_that_was_served,
                          behind_the_first, by_backend, by_backend_idle, by_backend_that_closes_at_once,
                          connected_then_parked, half_closed, left_then_parked, only_connected, parked_answered_left,
                          parked_left_parked, parked_then_left, refused, reset_after_answer, snapshot,
                          stuck)
from process import Failure

STYLES = ('threads', 'select', 'poll', 'level', 'edge', 'oneshot')
EPOLL = ('level', 'edge', 'oneshot')
BACKEND_ANSWER = b'HTTP/1.0 200 OK\n'.ljust(64, b'x')


class Run:
    """One cell under the shim. found: the diagnosis in the report."""

    def __init__(self, cell, base, work, ledgers):
        self.cell, self.base, self.work, self.ledgers = cell, base, work, ledgers
        self.found, self.process, self.reporter_pid = '', None, None
        self.clients, self.idle, self.sockets = [], [], set()
        self.backend = socket.create_server(('127.0.0.1', 0))
        self.port, self.child, self.pending = 0, None, b''

    def go(self):
        self._start()
        self.cell.cause.steps(self)
        self.pass_time('the grace period', 1.5 * GRACE_MS / 1000)
        self._end()
        self._check()

    @staticmethod
    def pass_time(what, seconds):
        start = time.monotonic()
        wait_until(what, lambda: time.monotonic() - start >= seconds)

    # --- the victim ---

    def _start(self):
        grace = self.cell.cause.grace_ms
        options = f'format=json:log_path={self.work}/report.%p.json:ledger_dir={self.ledgers}'
        options += f':exit_grace={grace}ms:live=0'
        words = [self.base['victim'], self.cell.style, self.cell.cause.name, str(self.backend.getsockname()[1])]
        ours = [f'LD_PRELOAD={self.base["library"]}', f'CWGUARD_OPTIONS={options}']
        with open(f'{self.work}/command', 'w', encoding='utf-8') as file:
            file.write(f'env {shlex.join(ours)} {shlex.join(words)}\n')
        with open(f'{self.work}/stderr', 'w', encoding='utf-8') as errors:
            self.process = subprocess.Popen(['env', *ours, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=errors, cwd=self.work)
        self.reporter_pid = self.process.pid
        self.port = int(self.line('ready'))

    def line(self, wanted):
        """The rest of the next line, which has to begin with `wanted`."""
        text = self._read_line()
        word, _, rest = text.strip().partition(' ')
        if word != wanted:
            raise Failure(f'the victim said {text!r}, expected {wanted}')
        return rest

    def _read_line(self):
        pipe = self.process.stdout.fileno()
        while b'\n' not in self.pending:
            readable, _, _ = select.select([pipe], [], [], 20)
            more = os.read(pipe, 65536) if readable else b''
            if not more:
                raise Failure(f'the victim says nothing more, last {self.pending!r}')
            self.pending += more
        line, _, self.pending = self.pending.partition(b'\n')
        return line.decode()

    def parked(self, count):
        """The victim has made its fault so many times more."""
        for _ in range(count):
            self.line('parked')

    def _end(self):
        for pid in (self.child, self.process.pid):
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
            if pid == self.child and pid is not None:
                wait_until('the end of the child', lambda: not os.path.exists(f'/proc/{self.child}'))
        status = self.process.wait(20)
        if status != -signal.SIGTERM:
            raise Failure(f'the victim ended with {status}: {self.process.stdout.read()!r}')

    def clean(self):
        for pid in (self.child, self.process.pid if self.process and self.process.poll() is None else None):
            try:
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process:
            self.process.wait()
            self.process.stdout.close()
        for sock in [*self.clients, *self.idle, self.backend]:
            sock.close()

    # --- what clients do ---

    def connect(self, count=CLIENTS):
        new = [socket.create_connection(('127.0.0.1', self.port), 20) for _ in range(count)]
        self.clients += new
        return new

    @staticmethod
    def ask(client, text=b'hello'):
        client.sendall(text)

    @staticmethod
    def answered(client, wanted=b'ok\n'):
        got = b''
        while len(got) < len(wanted):
            more = client.recv(len(wanted) - len(got))
            if not more:
                raise Failure('the victim closed a connection that it should have kept')
            got += more
        if got != wanted:
            raise Failure(f'the victim answered {got!r}')

    def converse(self, clients):
        for client in clients:
            self.ask(client)
            self.answered(client)

    @staticmethod
    def pair(end):
        """The other end's addresses, as the report and ss write them: local, peer."""
        return ss_address(end.getpeername()), ss_address(end.getsockname())

    def leave(self, ends, half=False):
        """These ends close."""
        self.sockets = {self.pair(end) for end in ends}
        for end in ends:
            if half:
                end.shutdown(socket.SHUT_WR)
            else:
                end.close()
        self.in_close_wait()

    def in_close_wait(self):
        """Waits until the kernel has the victim's ends in CLOSE_WAIT, and checks whose they are."""
        def owners():
            rows = {(local, peer): {pid for pid, _ in users} for local, peer, users, _ in close_wait_rows()}
            mine = [rows[pair] for pair in self.sockets if pair in rows]
            return mine if len(mine) == len(self.sockets) else None
        wanted = set() if self.cell.cause.queued else {self.reporter_pid}
        try:
            wait_until('CLOSE_WAIT', lambda: all(users == wanted for users in owners() or [None]))
        except Exception:
            raise Failure(f'in CLOSE_WAIT by ss, with owners: {owners()}; expected {len(self.sockets)}, '
                          f'of {wanted}') from None

    def reset(self, ends):
        self.sockets = {self.pair(end) for end in ends}
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            end.close()

    def serve_backend(self, closes=False):
        """Answers the victim's next request to its backend; returns the connection. closes: with the answer."""
        self.backend.settimeout(20)
        connection, _ = self.backend.accept()
        connection.settimeout(20)
        self.idle.append(connection)
        self.answered(connection, b'GET\n')
        connection.sendall(BACKEND_ANSWER)
        if closes:
            connection.shutdown(socket.SHUT_WR)
        return connection

    # --- the report ---

    def _check(self):
        reports = {}
        for path in glob.glob(f'{self.work}/report.*'):
            with open(path, encoding='utf-8') as file:
                report = json.load(file)
            reports[report['process']['pid']] = report
        if set(reports) != {self.reporter_pid}:
            raise Failure(f'reports of {sorted(reports)}, expected one of {self.reporter_pid}; '
                          f'victim {self.process.pid}, child {self.child}')
        report, cause = reports[self.reporter_pid], self.cell.cause
        groups = report['leaks'] + report['errors']
        pairs = [(group, connection) for group in groups for connection in group['connections']]
        self.found = ' '.join(sorted({group['diagnosis'] for group in groups})) or 'nothing'
        listed = sorted((c['local'], c['peer']) for _, c in pairs)
        if listed != sorted(self.sockets):
            raise Failure(f'sockets in the report {listed}, by ss {sorted(self.sockets)}')
        if self.found != cause.diagnosis:
            raise Failure(f'found {self.found}, expected {cause.diagnosis}')
        if len(report['errors' if cause.diagnosis == 'error-not-closed' else 'leaks']) != len(groups):
            raise Failure('in the wrong section of the report')
        if report['closed_late'] or report['totals']['settling']:
            raise Failure(f'more than that in the report: {report["totals"]}')
        for group in groups:
            cause.check_group(group, self.cell.style)


def functions_of(stack):
    """The victim's own functions, innermost first."""
    frames = (stack or {}).get('frames') or []
    return [frame['function'] for frame in frames
            if frame['function'] and (frame['module'] or '').endswith('causes.victim')]


class Cause:
    """function: what the deciding stack has to show among its innermost frames, or the origin where no stack decides;
    {style: function} where a style differs; None if no stack is known, which is checked as well."""
    FRAMES = 4

    def __init__(self, name, steps, function, cannot=None, grace_ms=GRACE_MS, queued=False, state=None):
        self.name, self.steps, self.function, self.cannot = name, steps, function, cannot or {}
        self.grace_ms, self.queued, self.state = grace_ms, queued, state
        self.diagnosis = name.partition('.')[0]

    def impossible(self, style):
        return self.cannot.get(style)

    def check_group(self, group, style):
        wanted = self.function.get(style, self.function['']) if isinstance(self.function, dict) else self.function
        stack = group['deciding'] or group['origin']
        names = functions_of(stack)
        if wanted is None and names:
            raise Failure(f'a stack, where none can be known: {names}')
        if wanted is not None and wanted not in names[:self.FRAMES]:
            raise Failure(f'{wanted} is not in the stack that decides: {names}')
        if self.state:
            texts = [entry['text'] for entry in group['evidence'] if entry['key'] == 'listener_state']
            if len(texts) != 1 or self.state not in texts[0]:
                raise Failure(f'listener_state {texts}, expected {self.state}')
        if len(group['evidence']) < 3:
            raise Failure(f'{len(group["evidence"])} entries of evidence')


NO_SET = 'a thread that blocks in accept or read is told of nothing and has no set: there is nothing to be taken out ' \
         'of, switched off or ignored'
NEW_SET = 'select and poll are given their whole set anew at each call: what is left out is "abandoned" once it was ' \
          'used, "never-watched" before'


def without(reason, *styles):
    return {style: reason for style in styles}


CAUSES = [
    Cause('error-not-closed', reset_after_answer, 'give_up_after_error'),
    Cause('never-accepted.unregistered', only_connected, 'open_listener_nobody_serves', queued=True,
          state='never accepted from'),
    Cause('never-accepted.taken-out', behind_one_that_was_served,
          {'': 'stop_accepting_at_limit', 'select': 'open_listener', 'poll': 'open_listener'},
          without(NO_SET, 'threads'), queued=True, state='taken out of its set'),
    Cause('never-accepted.accept-fails', connected_then_parked, 'accept_without_room', queued=True,
          state='accept fails'),
    Cause('never-accepted.acceptor-busy', behind_the_first, 'accept_and_wait_for_lock', queued=True,
          state='its acceptor is elsewhere'),
    Cause('held-elsewhere.dup', answered_then_left, 'close_all_but_the_copy'),
    Cause('held-elsewhere.child', snapshot, 'start_snapshot_child'),
    Cause('left-to-child', parked_answered_left, 'leave_to_child'),
    Cause('half-open', half_closed, 'send_on_after_end', grace_ms=0),
    Cause('owner-stuck', stuck, 'answer_after_lock'),
    Cause('eof-not-closed', left_then_parked, 'drop_at_end_of_stream'),
    Cause('reading-paused', answered_then_left,
          {'': 'pause_after_request', 'select': 'accept_client', 'poll': 'accept_client', 'oneshot': 'accept_ready'},
          without(NO_SET, 'threads')),
    Cause('event-ignored', parked_left_parked, 'loop_ignoring_hangup', without(NO_SET, 'threads')),
    Cause('unwatched', answered_then_left, 'take_out_and_lose',
          {**without(NO_SET, 'threads'), **without(NEW_SET, 'select', 'poll')}),
    Cause('never-watched', refused, 'accept_and_refuse'),
    Cause('response-unread', by_backend, 'read_status_line_only'),
    Cause('response-unread.at-once', by_backend_that_closes_at_once, 'read_status_line_only'),
    Cause('idle-pooled', by_backend_idle, 'keep_in_pool'),
    Cause('owner-gone', answered_idle_then_left, 'return_without_close'),
    Cause('abandoned', answered_then_left, 'answer_once_and_forget'),
    Cause('untracked', parked_then_left, None),
]


class Cell:
    def __init__(self, style, cause):
        self.style, self.cause, self.name = style, cause, f'{style}/{cause.name}'


def cells():
    return [Cell(style, cause) for cause in CAUSES for style in STYLES if not cause.impossible(style)]
