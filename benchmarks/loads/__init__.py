"""Loads: what asks a server, written for speed, and checks every answer.

Each is a process: ``python -m benchmarks.loads NAME '{"port": 9000, "connections": 40, …}'``. It connects,
begins when it is told to, and ends with one line of JSON: what it got, how long that took, and how much of a
processor it had for itself. Raw sockets, epoll, and requests that are encoded before: what a load takes from
the processors, the server does not get.
"""
