"""A server of UM-Bridge on the loopback, asked as a solver."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fieldcast.solvers import SolverFailed
from fieldcast.solvers.um_bridge import UmBridge


class Model(BaseHTTPRequestHandler):
    """y = (a x1 + x2, x3^2) of vectors (x1, x2) and (x3), as the protocol has it."""

    def do_GET(self) -> None:
        self.told({"protocolVersion": 1.0, "models": ["forward"]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/InputSizes":
            self.told({"inputSizes": [2, 1]})
            return
        (one, two), (three,) = asked["input"]
        if three < 0:
            self.told({"error": {"type": "ModelError", "message": "a negative input"}})
            return
        self.told({"output": [[asked["config"].get("a", 1.0) * one + two], [three**2]]})

    def told(self, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        return


@pytest.fixture(scope="module")
def solver() -> Iterator[UmBridge]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    yield UmBridge(url, "forward", ("x1", "x2", "x3"), ("sum", "square"), (("a", 3.0),))
    server.shutdown()
    server.server_close()


def test_it_answers(solver):
    assert solver.available() is None
    case = solver.example().with_parameters(x1=2.0, x2=1.0, x3=4.0)
    found = solver.solve(case)
    assert {k: float(s) for k, s in found.scalars.items()} == {"sum": 7.0, "square": 16.0}


def test_what_goes_wrong_is_told(solver):
    with pytest.raises(SolverFailed, match="negative input"):
        solver.solve(solver.example().with_parameters(x3=-1.0))
    with pytest.raises(ValueError, match="3 inputs"):
        UmBridge(solver.url, "forward", ("x1",), ("y",)).solve(UmBridge(inputs=("x1",)).example())
    with pytest.raises(SolverFailed, match="results"):
        UmBridge(solver.url, "forward", solver.inputs, ("y",)).solve(solver.example())
    assert "another" in str(UmBridge(solver.url, "another").available())
    gone = UmBridge("http://127.0.0.1:9", inputs=("x1",))
    assert "start a server" in str(gone.available())
    with pytest.raises(SolverFailed):
        gone.solve(gone.example())
