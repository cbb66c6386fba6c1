"""How fast the suite is, beside what one would use instead.

``python -m benchmarks`` measures everything, ``python -m benchmarks ROW`` one row.

::

    rows/      what is measured: a module for a row or a small family of rows
      |  \\
      |   loads/    what asks: processes of their own, raw sockets, every answer checked
      |
    suite.py, peers/     who answers: ours under twistd, and the others, each on free ports of 127.0.0.1
      |
    processes.py         started, watched, and stopped by id

    comparing.py, growth.py    ours and theirs in turn; one size after the other
    report.py, plot.py         what is printed, the JSON file, the pictures

What is believed is a ratio of two runs that follow each other on one machine. An absolute figure tells of
that machine only.
"""
