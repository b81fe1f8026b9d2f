"""One replica: the Python LangGraph server in memory, in a process of its own beside an agentd."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from .stack import SOURCE, ask, until


class Replica:
    def __init__(self, agentd: str, graph_file: str = "langgraph_graph.py") -> None:
        self.folder = tempfile.mkdtemp(prefix="bw-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        graph = pathlib.Path(__file__).with_name(graph_file)
        run = "import json, sys; from langgraph_api.cli import run_server; run_server(**json.loads(sys.argv[1]))"
        options = {
            "host": "127.0.0.1", "port": port, "reload": False, "open_browser": False,
            "graphs": {"agent": f"{graph}:graph"}, "n_jobs_per_worker": 4, "allow_blocking": True,
        }
        self.log = open(f"{self.folder}/log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", run, json.dumps(options)], cwd=self.folder, stdin=subprocess.PIPE,
            stdout=self.log, stderr=self.log, env={**os.environ, "AGENTD": agentd, "BRAKEWIRE_AGENTD": agentd, "OWN_URL": self.url,
                 "PYTHONPATH": f"{graph.parents[1]}:{SOURCE / 'clients/python/src'}"},
        )

    def wait(self) -> Replica:
        until(self.is_ready, 60)
        return self

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(pathlib.Path(f"{self.folder}/log").read_text()[-4000:])
        try:
            return ask(self.url, "GET", "/ok").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
