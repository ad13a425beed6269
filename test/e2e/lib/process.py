"""One run of a victim, with or without the shim: starts it, answers its requests, photographs it at its ends."""
import os
import re
import select
import shlex
import signal
import subprocess
import time

import kernel
import steps
from peers import Peers

PEER_REQUESTS = ('connect', 'serve', 'accept', 'send', 'recv', 'fin', 'halfclose', 'reset', 'bye', 'age', 'hammer')


class Failure(Exception):
    """An expectation that did not hold."""


class Run:
    """After go(): status, output (every line, numbers replaced), stderr, ends {pid: {(local, peer): fds}}."""

    def __init__(self, case, context, shim):
        self.case, self.context, self.shim = case, context, shim
        self.work = os.path.join(context.work, 'shim' if shim else 'bare')
        self.marker = f'E2E_ID={context.run_id}-{case.name}-{"shim" if shim else "bare"}'
        self.peers = Peers()
        self.ends, self.tables, self.threads, self.children = {}, {}, {}, {}
        self.queues, self.unlisted = {}, {}  # per pid: kernel.queued_for, kernel.unlisted_sockets_of
        self.inner = {}  # pid as we know it: as the victim knows itself
        self.at_end = []
        self.output = []
        self.status = None
        self.stderr = ''
        self.process = None
        self.plan = None
        os.makedirs(self.work, exist_ok=True)
        os.chmod(self.work, 0o777)

    def fill(self, text):
        return (text.replace('{work}', self.work).replace('{build}', self.context.build)
                .replace('{victims}', self.context.victims).replace('{ledgers}', self.context.ledgers))

    def options(self):
        parts = ['exit_grace=0', f'ledger_dir={self.context.ledgers}']
        if self.case.out == 'json':
            parts += ['format=json', f'log_path={self.work}/report.%p.json']
        elif self.case.out in ('stderr', 'dead'):
            parts += ['format=json']
        if self.case.opts:
            parts.append(self.fill(self.case.opts))
        return ':'.join(parts)

    def environment(self):
        env = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8',
               'HOME': self.work}
        if self.shim:
            env['LD_PRELOAD'] = ':'.join(filter(None, [os.environ.get('E2E_PRELOAD'), self.context.library]))
            env['CWGUARD_OPTIONS'] = self.options()
            if 'ASAN_OPTIONS' in os.environ:
                env['ASAN_OPTIONS'] = os.environ['ASAN_OPTIONS']
        for setting in self.case.env:
            name, _, value = self.fill(setting).partition('=')
            if self.shim or name not in ('LD_PRELOAD', 'CWGUARD_OPTIONS'):
                env[name] = value
        name, _, value = self.marker.partition('=')
        env[name] = value
        return env

    def _start(self):
        """Preload and options belong to the victim alone, not to what runs it: env(1) sets them last."""
        self.plan = steps.Plan(self, [self.fill(step) for step in self.case.before])
        env = dict(self.environment(), **self.plan.env)
        words = [self.fill(word) for word in self.case.command]
        if not words[0].startswith('/'):
            words[0] = os.path.join(self.context.victims, words[0])
        around = self.plan.around + shlex.split(self.fill(self.case.around))
        if around:
            ours = [f'{name}={env.pop(name)}' for name in ('LD_PRELOAD', 'CWGUARD_OPTIONS') if name in env]
            words = around + (['/usr/bin/env'] + ours if ours else []) + words
        self.requests, request_write = os.pipe()
        answer_read, self.answers = os.pipe()
        errors = os.open(f'{self.work}/stderr', os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        with open(f'{self.work}/command', 'w', encoding='utf-8') as file:
            shown = ' '.join(shlex.quote(f'{name}={value}') for name, value in env.items())
            file.write(f'cd {self.work} && env -i {shown} {shlex.join(words)}\n')
        stderr = errors if self.plan.stderr_fd is None else self.plan.stderr_fd
        self.process = subprocess.Popen(words, env=env, cwd=self.work, stdin=answer_read, stdout=request_write,
                                        stderr=stderr, pass_fds=self.plan.fds, start_new_session=True)
        for fd in (request_write, answer_read, errors):
            os.close(fd)
        self.plan.started()

    def _answer(self, text):
        try:
            os.write(self.answers, text.encode() + b'\n')
        except BrokenPipeError:
            pass

    def _photograph(self, pid):
        self.ends[pid] = kernel.close_wait_of(pid)
        self.tables[pid] = kernel.fd_table(pid)
        self.queues[pid] = kernel.queued_for(pid)
        self.unlisted[pid] = kernel.unlisted_sockets_of(pid)
        self.threads[pid] = kernel.status_field(pid, 'Threads')
        self.children[pid] = kernel.children_of(pid)

    def _end(self, pid):
        inside, pid = pid, kernel.host_pid(pid, self.marker)
        self.inner[pid] = inside
        self._photograph(pid)
        for hook in self.at_end:
            hook(self, pid)
        if self.case.end == 'go':
            self._answer('go')
        elif self.case.end.endswith('+go'):
            os.kill(pid, getattr(signal, 'SIG' + self.case.end[:-3]))
            self._answer('go')
        else:
            os.kill(pid, getattr(signal, 'SIG' + self.case.end))

    def _await(self, pattern):
        """Answers once stderr has something that only the shim writes; at once without the shim."""
        def there():
            with open(f'{self.work}/stderr', encoding='utf-8', errors='replace') as file:
                return re.search(pattern, file.read())
        if self.shim:
            kernel.wait_until(f'{pattern!r} on stderr', there)
        self._answer('ok')

    def _line(self, line):
        words = line.split()
        if words and words[0] == 'end' and len(words) == 2:
            self._end(int(words[1]))
        elif words and words[0] in PEER_REQUESTS:
            self._answer(getattr(self.peers, words[0])(*words[1:]))
        elif words and words[0] == 'await':
            self._await(line.partition(' ')[2])
        self.output.append(re.sub(r'\b\d{3,}\b', 'N', line))

    def _serve(self, deadline):
        pending = b''
        while True:
            if time.monotonic() > deadline:
                raise Failure(f'not done after {self.case.deadline:g} s (last line: {self.output[-1:]})')
            readable, _, _ = select.select([self.requests], [], [], 0.2)
            if not readable:
                continue
            chunk = os.read(self.requests, 65536)
            if not chunk:
                return
            pending += chunk
            while b'\n' in pending:
                line, pending = pending.split(b'\n', 1)
                self._line(line.decode(errors='replace'))

    def _kill_leftovers(self):
        for pid in kernel.pids_with(self.marker):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def go(self):
        deadline = time.monotonic() + self.case.deadline
        try:
            self._start()
            self._serve(deadline)
            self.status = self.process.wait(max(1.0, deadline - time.monotonic()))
            kernel.wait_until('the end of every process of the case', lambda: not kernel.pids_with(self.marker),
                              max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failure(f'did not end within {self.case.deadline:g} s') from None
        except (kernel.Timeout, OSError) as error:
            raise Failure(f'{type(error).__name__}: {error} (last line: {self.output[-1:]})') from error
        finally:
            self._kill_leftovers()
            if self.process is not None:
                self.process.wait()
                os.close(self.requests)
                os.close(self.answers)
            self.peers.close_all()
            if self.plan is not None:
                self.plan.finish()
            if os.path.exists(f'{self.work}/stderr'):
                with open(f'{self.work}/stderr', encoding='utf-8', errors='replace') as file:
                    self.stderr = file.read()
        return self

