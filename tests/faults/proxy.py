"""A JSON-RPC proxy on the loopback interface that treats its clients as badly as it is told to."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import requests

Forward = Callable[[], Any]
Rule = Callable[[str, list[Any], Forward], Any]
RECEIPT, BY_HASH = "eth_getTransactionReceipt", "eth_getTransactionByHash"
SEND = "eth_sendRawTransaction"
COUNT = "eth_getTransactionCount"


class RpcError(Exception):
    """A node's refusal."""

    def __init__(self, message: str, code: int = -32000) -> None:
        super().__init__(message)
        self.answer = {"code": code, "message": message}


class HungUpError(Exception):
    """The connection ends without an answer."""


class Upstream:
    """A node."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()

    def ask(self, method: str, parameters: Sequence[Any]) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer = self._session.post(self.url, json=request, timeout=10).json()
        if "error" in answer:
            raise RpcError(answer["error"]["message"], answer["error"]["code"])
        return answer["result"]


class Proxy:
    """Listens on a port of its own until it is closed; `rule` decides about every request."""

    def __init__(self, url: str) -> None:
        self.upstream = Upstream(url)
        self.rule: Rule = honest
        self.asked: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # An answer in one piece and at once, not in two with an acknowledgement between.
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = json.loads(body)
                answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
                try:
                    answer["result"] = proxy.answer(request["method"], request.get("params", []))
                except RpcError as problem:
                    answer["error"] = problem.answer
                except HungUpError:
                    self.close_connection = True
                    return
                encoding = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(encoding)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(encoding)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def answer(self, method: str, parameters: list[Any]) -> Any:
        self.asked.append(method)
        return self.rule(method, parameters, lambda: self.upstream.ask(method, parameters))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


# Rules


def honest(_: str, __: list[Any], forward: Forward) -> Any:
    return forward()


def dead(_: str, __: list[Any], ___: Forward) -> Any:
    raise HungUpError


def refuse(message: str, *methods: str) -> Rule:
    """Answer methods with an error."""

    def rule(method: str, _: list[Any], forward: Forward) -> Any:
        if method in methods:
            raise RpcError(message)
        return forward()

    return rule


def swallow(_method: str = SEND) -> Rule:
    """Take transactions, say what nodes say, and forget them."""

    def rule(method: str, parameters: list[Any], forward: Forward) -> Any:
        return "0x" + "00" * 32 if method == _method else forward()

    return rule


def answer_with(value: Callable[[Any], Any], *methods: str) -> Rule:
    """Change the answers of methods."""

    def rule(method: str, _: list[Any], forward: Forward) -> Any:
        return value(forward()) if method in methods else forward()

    return rule


class Lag:
    """A node that is some blocks behind and does not say so."""

    def __init__(self, upstream: Upstream, blocks: int) -> None:
        self.upstream = upstream
        self.blocks = blocks

    @property
    def head(self) -> int:
        return int(self.upstream.ask("eth_blockNumber", []), 16) - self.blocks

    def __call__(self, method: str, parameters: list[Any], forward: Forward) -> Any:
        ask = self.upstream.ask
        match method:
            case "eth_blockNumber":
                return hex(self.head)
            case "eth_getBlockByNumber":
                if parameters[0] == "latest":
                    return ask(method, [hex(self.head), *parameters[1:]])
                known = not parameters[0].startswith("0x") or int(parameters[0], 16) <= self.head
                return forward() if known else None
            case "eth_getLogs":
                (wanted,) = parameters
                last = min(int(wanted["toBlock"], 16), self.head)
                if int(wanted["fromBlock"], 16) > last:
                    return []
                return ask(method, [{**wanted, "toBlock": hex(last)}])
            case "eth_getBlockByHash":
                block = forward()
                return block if block and int(block["number"], 16) <= self.head else None
            case _ if method in (RECEIPT, BY_HASH):
                found = forward()
                place = found and found.get("blockNumber")
                return None if place and int(place, 16) > self.head else found
        last_one = parameters[-1] if parameters else None
        if isinstance(last_one, dict) and "blockHash" in last_one:
            block = ask("eth_getBlockByHash", [last_one["blockHash"], False])
            if block is None or int(block["number"], 16) > self.head:
                raise RpcError("header not found", -32001)
        elif last_one == "latest":
            return ask(method, [*parameters[:-1], hex(self.head)])
        return forward()


def to(upstream: Upstream) -> Rule:
    """Another node in the place of the proxy's own."""
    return lambda method, parameters, _: upstream.ask(method, parameters)


class Hold:
    """Keeps transactions back, until it lets them go in the opposite order, each twice."""

    def __init__(self) -> None:
        self.held: list[Forward] = []

    def __call__(self, method: str, _: list[Any], forward: Forward) -> Any:
        if method != SEND:
            return forward()
        self.held.append(forward)
        return "0x" + "00" * 32

    def release(self) -> None:
        for forward in [*reversed(self.held), *self.held]:
            with suppress(RpcError):
                forward()
        self.held.clear()
