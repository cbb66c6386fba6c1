"""nginx, with files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.processes import Running, Words, accepts, find, free_port, started

_CONFIGURATION = """\
{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/errors;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {files}; }}
}}
"""


@contextmanager
def serving(bench: Bench, files: Path) -> Iterator[Running]:
    """Start it; it gives what is in the folder `files`."""
    nginx = find("nginx", "apt-get install nginx-light")
    port = free_port()
    with bench.folder() as folder:
        user = "user root;" if os.geteuid() == 0 else ""  # another one could not read our folder
        text = _CONFIGURATION.format(folder=folder, files=files, port=port, user=user)
        (folder / "nginx.conf").write_text(text)
        command: Words = [nginx, "-c", folder / "nginx.conf", "-e", folder / "errors"]
        with started(bench, command, folder, lambda: accepts(port)) as process:
            yield Running(process.pid, port)
