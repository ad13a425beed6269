"""A urllib3 connection pool whose server closes the idle connections: the pool only notices at the next request.

usage: pool.py PORT COUNT    prints "end PID" when the connections are idle, reads a line, and ends normally."""
import os
import sys

import urllib3


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    pool = urllib3.HTTPConnectionPool('127.0.0.1', port, maxsize=count, block=False)
    answers = [pool.request('GET', '/', preload_content=False) for _ in range(count)]
    for answer in answers:  # all taken out at once, so that there are as many connections; given back one by one
        answer.read()
        answer.release_conn()
    print(f'end {os.getpid()}', flush=True)
    sys.stdin.readline()


main()
