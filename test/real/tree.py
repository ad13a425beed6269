"""A real server of several processes under `cwguard run`, its clients, and what its reports are held against: ss."""
import collections
import glob
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

from kernel import Timeout, close_wait_rows, status_field, tree, wait_until
from process import Failure

PATIENCE_S = 10
STALE_S = 2.0  # how old the last look at a killed process may be


def require(condition, what):
    if not condition:
        raise Failure(what)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Server:
    """`cwguard run` with a server below it. port: the server's; None: it prints it."""

    def __init__(self, build, work, words, port=None, grace='0'):
        self.build, self.work, self.port = build, work, port
        self.ledgers = tempfile.mkdtemp(prefix='trees.', dir='/dev/shm')
        self.clients, self.known, self.met = [], set(), set()
        self.main = None  # its pid, where it has left the tree
        command = [f'{build}/cwguard', 'run', '--format=json', f'--output={work}/report.json', f'--grace={grace}',
                   '--exit-grace=0', f'--ledger-dir={self.ledgers}', '--', *words]
        # Of a session of its own: apache2 ends its whole process group, run included.
        with open(f'{work}/stderr', 'w', encoding='utf-8') as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=work,
                                            env=dict(os.environ, LANG='C.UTF-8'), start_new_session=True)
        try:
            with open(f'/proc/{self.process.pid}/stat', encoding='utf-8') as file:
                self.start_ticks = int(file.read().rpartition(')')[2].split()[19])
            if port is None:
                self.port = int(self.process.stdout.readline())
            wait_until('the server to listen', self.listens)
        except BaseException:
            self.close()
            raise

    # --- its processes ---

    def listens(self):
        require(self.process.poll() is None, f'it has ended with status {self.process.returncode}: {self.said()}')
        return subprocess.run(['ss', '-tlnH', f'sport = :{self.port}'], capture_output=True, text=True,
                              check=True).stdout

    def pids(self):
        """All that live, oldest first: the main one is in front. Those that were met before count wherever they are."""
        roots = self.known | ({self.main} if self.main else set())
        if self.process.poll() is None:
            roots.add(self.process.pid)
        for root in roots:
            self.known |= tree(root) - {self.process.pid}
        self.met |= self.known
        self.known = {pid for pid in self.known if (status_field(pid, 'State') or 'Z')[0] != 'Z'}
        return sorted(self.known)

    def workers(self, count):
        """The processes below the main one, once there are so many."""
        def there():
            pids = self.pids()
            return pids[1:] if len(pids) == count + 1 else None
        return wait_until(f'{count} workers', there)

    @staticmethod
    def signal_each(pids, number):
        for pid in pids:
            os.kill(pid, number)
        if number == signal.SIGSTOP:
            wait_until('them to stand still', lambda: all(status_field(pid, 'State')[0] == 'T' for pid in pids))

    # --- its clients ---

    def connect(self, count, request=b'', answered=True):
        """So many more clients; answered: waits for each one's answer."""
        came = [socket.create_connection(('127.0.0.1', self.port), 10) for _ in range(count)]
        self.clients += came
        for client in came:
            client.sendall(request)
        for client in came if answered else ():
            answer = b''
            while not answer.endswith((b'hello\n', b'ok\n')):  # whole: to leave with some of it unread would reset
                more = client.recv(4096)
                require(more, f'half an answer: {answer}')
                answer += more

    def connect_to(self, worker, workers, count, request):
        """Clients of one worker: the others stand still meanwhile."""
        others = [pid for pid in workers if pid != worker]
        self.signal_each(others, signal.SIGSTOP)
        self.connect(count, request)
        self.signal_each(others, signal.SIGCONT)

    def leave(self):
        """All clients leave; what ss shows of them then: each of their connections."""
        names = {'%s:%d' % client.getsockname()[:2] for client in self.clients}
        for client in self.clients:
            client.close()
        self.clients = []
        rows = []

        def there():
            rows[:] = self.rows()
            return {row[1] for row in rows} == names
        try:
            wait_until('all in CLOSE_WAIT', there, 8)
        except Timeout:
            raise Failure(f'of {len(names)} clients that left ss shows in CLOSE_WAIT: {rows}; missing '
                          f'{names - {row[1] for row in rows}}') from None
        return rows

    def rows(self):
        """[(local, peer, [(pid, fd)], recv_q)] of its sockets in CLOSE_WAIT, those in accept queues included."""
        return [row for row in close_wait_rows() if row[0].endswith(f':{self.port}')]

    def settled(self):
        wait_until('no socket in CLOSE_WAIT', lambda: not self.rows())

    # --- what cwguard says ---

    def said(self):
        with open(f'{self.work}/stderr', encoding='utf-8', errors='replace') as file:
            return file.read()

    def lines(self):
        """{diagnosis: sockets} by the live lines so far."""
        found = re.findall(r'^cwguard: ([\d,]+) sockets? left in CLOSE_WAIT.* \[([a-z-]+)\]', self.said(), re.M)
        return {diagnosis: int(count.replace(',', '')) for count, diagnosis in found}

    def await_lines(self, *diagnoses):
        """A live line for each of these, within a few looks."""
        try:
            wait_until('the lines', lambda: set(diagnoses) <= set(self.lines()), 8)
        except Timeout:
            raise Failure(f'no lines that tell of {diagnoses}, only: {self.said()}') from None

    def await_any_line(self):
        wait_until('a live line', self.lines, 8)

    def ask(self, pids):
        """`cwguard report` of the running processes, in one report."""
        done = subprocess.run([f'{self.build}/cwguard', 'report', '--grace=0', '--format=json', *map(str, pids)],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        require(done.returncode == 0 and not done.stderr, f'cwguard report: {done.returncode}, {done.stderr}')
        return json.loads(done.stdout)

    def end(self, number=signal.SIGTERM, stays=False):
        """Ends run by a signal, passed on to a living main process: the final report. stays: the server does."""
        self.pids()
        os.kill(self.process.pid, number)
        return self._ended(0, stays)

    def end_each(self, number):
        """Ends all processes of the server by a signal, the main one last; the final report."""
        for pid in reversed(self.pids()):
            os.kill(pid, number)
        return self._ended(128 + number, False)

    def _ended(self, expected, stays):
        status = self.process.wait(PATIENCE_S)
        require(status == expected, f'exit status {status}, not {expected}; {self.said()}')
        require(stays or not self.ledger_files(), f'left behind: {self.ledger_files()}')
        with open(f'{self.work}/report.json', encoding='utf-8') as file:
            return json.load(file)

    def ledger_files(self):
        """Of the processes met so far; those that have changed their user keep theirs in a folder of that one."""
        others = [path for pid in self.met for path in glob.glob(f'/dev/shm/cwguard-*/*.{pid}.*.cwg')
                  if int(path.split('.')[2]) >= self.start_ticks]
        return glob.glob(f'{self.ledgers}/*') + others

    @staticmethod
    def _kill(pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self):
        for client in self.clients:
            client.close()
        self.pids()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        while self.pids():  # again: a main process makes new ones for those that end before it
            for pid in self.pids():
                self._kill(pid)
        for path in self.ledger_files():
            os.unlink(path)
        os.rmdir(self.ledgers)


def wait_age(seconds):
    """Lets what is there become so old."""
    start = time.monotonic()
    wait_until(f'sockets {seconds} s old', lambda: time.monotonic() - start > seconds)


# --- reports against ss ---

def listed(report, sections=('leaks',)):
    return [connection for name in sections for group in report[name] for connection in group['connections']]


def hold_against(report, rows, what):
    """Exactly what ss has shown, each socket once, with an owner that ss knows; those in accept queues with no fd."""
    found = collections.Counter((c['local'], c['peer']) for c in listed(report))
    expected = collections.Counter((local, peer) for local, peer, _, _ in rows)
    require(found == expected, f'{what}: ss had {len(rows)} sockets, the report lists {sum(found.values())}: missing '
                               f'{expected - found}, too many {found - expected}')
    users = {(local, peer): owners for local, peer, owners, _ in rows}
    for connection in listed(report):
        owners = users[(connection['local'], connection['peer'])]
        if owners:
            require((connection['pid'], connection['fd']) in owners, f'{what}: by ss {owners}: {connection}')
        else:
            require(connection['fd'] is None, f'{what}: in no fd by ss: {connection}')
    totals, queued = report['totals'], sum(not row[2] for row in rows)
    require(totals['queued'] == queued and totals['close_wait'] == len(rows) - queued,
            f'{what}: {queued} of {len(rows)} are queued, {totals}')


def no_leak(report, what, late=False):
    """late: sockets closed late may be in it."""
    names = ('leaks', 'errors') if late else ('leaks', 'errors', 'closed_late')
    groups = [(name, group['diagnosis'], group['count']) for name in names for group in report[name]]
    require(not groups, f'{what}: {groups}')
    totals = report['totals']
    require(not any(totals[name] for name in ('leaked', 'close_wait', 'queued', 'closes_unseen', 'table_full')),
            f'{what}: {totals}')


def diagnoses(report):
    return {group['diagnosis'] for group in report['leaks']}
