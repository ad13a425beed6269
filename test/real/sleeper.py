"""A server whose main thread has served COUNT clients, keeps their sockets, and sleeps.

usage: sleeper.py COUNT    prints its port"""
import socket
import sys
import time


def main():
    listener = socket.create_server(('127.0.0.1', 0))
    print(listener.getsockname()[1], flush=True)
    kept = []
    for _ in range(int(sys.argv[1])):
        client, _ = listener.accept()
        client.recv(64)
        client.sendall(b'ok\n')
        kept.append(client)
    while True:
        time.sleep(1000)


main()
