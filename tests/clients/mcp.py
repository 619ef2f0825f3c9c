"""A client of an MCP server over its standard streams: JSON-RPC, one message a line."""

import json
import subprocess
import threading


class ToolError(Exception):
    """What the server says to the one who called a tool that failed."""


class Session:
    """A server that runs, initialised."""

    def __init__(self, command, environment, log):
        self._log = log
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("ab"), text=True
        )
        # A server that hangs ends, and with it the wait for its line.
        self._watchdog = threading.Timer(60, self._process.kill)
        self._watchdog.start()
        self._last_id = 0
        client = {"name": "keyward-tests", "version": "1"}
        self.server = self._ask(
            "initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        )["serverInfo"]
        self._send({"method": "notifications/initialized"})

    def _send(self, message):
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
        self._process.stdin.flush()

    def _ask(self, method, params):
        self._last_id += 1
        self._send({"id": self._last_id, "method": method, "params": params})
        while line := self._process.stdout.readline():
            message = json.loads(line)
            if message.get("id") == self._last_id:
                if "error" in message:
                    raise ToolError(message["error"]["message"])
                return message["result"]
        raise AssertionError(f"the MCP server ended:\n{self._log.read_text()}")

    def call(self, tool, **arguments):
        """What a tool answers, as its JSON says."""
        result = self._ask("tools/call", {"name": tool, "arguments": arguments})
        [content] = result["content"]
        if result.get("isError"):
            raise ToolError(content["text"])
        return json.loads(content["text"])

    def close(self):
        self._watchdog.cancel()
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()
