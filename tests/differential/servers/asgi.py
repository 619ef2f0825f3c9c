"""Logs each request that an ASGI server reads, in the file that `LOG` names."""

import os


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = dict(scope["headers"])
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    fields = [
        scope["method"].encode(), target, scope["path"].encode("utf-8", "surrogateescape"), scope["query_string"], headers.get(b"host", b""),
        headers.get(b"x-case", b""), body,
    ]  # fmt: skip
    with open(os.environ["LOG"], "a") as log:
        log.write(" ".join(field.hex() for field in fields) + "\n")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
