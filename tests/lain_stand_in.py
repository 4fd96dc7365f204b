#!/usr/bin/env python3
"""Stands in for LAIN's lainlet, console and SSO at once, told apart by the host that is asked for.

Usage: lain_stand_in.py ADDRESS:PORT CONTAINER   (app shop, proc web, instance 1; whoever has the token `token` enters)
Says `listening on ADDRESS:PORT` on standard error, and then a line for each request.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AUTH = json.dumps({"type": "lain-sso", "url": "http://sso.lain.test"})


def answer(host, path, headers, container):
    """Status and JSON."""
    service = host.split(".")[0]
    if service == "lainlet" and path == "/v2/configwatcher?target=auth/console":
        return 200, {"auth/console": AUTH}
    if service == "lainlet" and path == "/v2/coreinfowatcher?appname=shop":
        pod = {"ContainerId": container, "ContainerIp": "172.20.0.2", "NodeIp": "10.0.0.1", "NodeName": "node1"}
        other = dict(pod, ContainerId="0" * 64)
        return 200, {
            "shop.web.web": {"PodInfos": [{"InstanceNo": 1, "Annotation": "{}", "ContainerInfos": [pod, other]}]},
            "shop.worker.web2": {"PodInfos": [{"InstanceNo": 1, "Annotation": "{}", "ContainerInfos": [other]}]},
        }
    if service == "lainlet" and path.startswith("/v2/coreinfowatcher?appname="):
        return 200, {}
    if service == "console" and path.startswith("/api/v1/repos/") and path.endswith("/roles/"):
        if headers.get("access-token") == "token":
            return 200, {"msg": "", "url": path, "role": {"role": "owner"}}
        return 401, {"msg": "unauthorized", "url": path, "role": None}
    if service == "sso" and path == "/api/me":
        if headers.get("authorization") == "Bearer token":
            return 200, {"name": "ada", "email": "ada@lain.test"}
        return 401, {"error": "invalid_token"}
    return 404, {"error": "nothing is here"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        host = self.headers.get("host", "")
        status, value = answer(host, self.path, self.headers, self.server.container)
        body = json.dumps(value).encode()
        print(f"{host} {self.path} {status}", file=sys.stderr, flush=True)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """do_GET says it."""


def main():
    address, container = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.container = container
    print(f"listening on {address}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
