#!/usr/bin/env python3
"""A client of the old Entry's wire: what `lain enter`, `lain attach` and the console's web terminal expect.

Written from the description of that wire alone, with another WebSocket and another protobuf than the gateway's, so
that the gateway is judged by somebody else. Each scenario connects, plays an old client's part and compares what comes
back byte for byte. Exit status: 0 if all scenarios pass, 1 if one fails (the reason is on standard error), 2 for usage.

Scenarios:
  enter      a shell: WINCH and `stty size`, TERM, multi-byte output, exit, the last message, the close frame
  notfound   an app that does not exist: upgraded, then refused in CLOSE with the old sentence
  ping       PING messages while idle (--pings N: that many, and the gaps between them)
  attach     the container's own standard output and standard error, each with its type
             (its process must print lines of which some hold --attach-stdout and --attach-stderr)
  plain      HTTP without an upgrade: /api/ping 200, /enter 426, elsewhere 404 (--mode does not matter)

The container must have bash, and end slowly enough to be watched. Example:
  lain_client.py --gateway ws://127.0.0.1:8022 --app shop --proc web --instance 1 --mode web enter ping
"""

import argparse
import base64
import codecs
import http.client
import json
import sys
import time
from urllib.parse import urlsplit

import websocket
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

STDOUT, STDERR, CLOSE, PING = range(4)
PLAIN, WINCH = range(2)
TYPE_NAMES = ["STDOUT", "STDERR", "CLOSE", "PING"]

QUIT_SAFELY = b"\x1b[32m>>> You quit the container safely.\x1b[0m"
NOT_FOUND = b"\x1b[31m>>> Container is not found.\x1b[0m"

TERM_TYPE = "screen-256color"

# Characters of two, three and four bytes, with no ASCII between them to hide a cut.
MULTI_BYTE_LINE = "é世界Ж🎉漢字🐳ß語🚀" * 7
MULTI_BYTE_LINES = 2000


class Failure(Exception):
    """The gateway did something that an old client does not expect."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def message_classes():
    """RequestMessage and ResponseMessage, as generated code of the old message.proto would have them."""
    file = descriptor_pb2.FileDescriptorProto(name="message.proto", package="message", syntax="proto3")
    for name, values in (("RequestMessage", ("PLAIN", "WINCH")), ("ResponseMessage", tuple(TYPE_NAMES))):
        message = file.message_type.add(name=name)
        kind = message.enum_type.add(name=name[: -len("Message")] + "Type")
        for number, value in enumerate(values):
            kind.value.add(name=value, number=number)
        field = descriptor_pb2.FieldDescriptorProto
        message.field.add(
            name="msgType",
            number=1,
            type=field.TYPE_ENUM,
            type_name=f".message.{name}.{kind.name}",
            label=field.LABEL_OPTIONAL,
        )
        message.field.add(name="content", number=2, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"message.{name}"))
        for name in ("RequestMessage", "ResponseMessage")
    ]


RequestMessage, ResponseMessage = message_classes()


class ProtobufCodec:
    """The command line client's: protobuf in binary frames."""

    @staticmethod
    def encode(kind, content):
        return websocket.ABNF.OPCODE_BINARY, RequestMessage(msgType=kind, content=content).SerializeToString()

    @staticmethod
    def decode(data):
        message = ResponseMessage()
        try:
            message.ParseFromString(data)
        except Exception as error:
            raise Failure(f"not a ResponseMessage: {data!r}: {error}") from error
        unknown = unknown_fields.UnknownFieldSet(message)
        check(len(unknown) == 0, f"unknown fields {[field.field_number for field in unknown]} in {data!r}")
        check(message.msgType in range(4), f"message type {message.msgType} was never in the old wire: {data!r}")
        # The old encoder writes fields in the order of their numbers, and no zero values.
        expected = ResponseMessage(msgType=message.msgType, content=message.content)
        check(
            data == expected.SerializeToString(deterministic=True),
            f"not the old encoder's bytes: {data!r}, it writes {expected.SerializeToString(deterministic=True)!r}",
        )
        return message.msgType, message.content


class JsonCodec:
    """The web terminal's: JSON with the content in base64."""

    @staticmethod
    def encode(kind, content):
        message = {} if kind == PLAIN else {"msgType": kind}
        if content:
            message["content"] = base64.b64encode(content).decode()
        # Either kind of frame is allowed to a client.
        opcode = websocket.ABNF.OPCODE_TEXT if kind == PLAIN else websocket.ABNF.OPCODE_BINARY
        return opcode, json.dumps(message).encode()

    @staticmethod
    def decode(data):
        try:
            message = json.loads(data)
            kind = message.get("msgType", STDOUT)
            content = base64.b64decode(message.get("content", ""), validate=True)
        except Exception as error:
            raise Failure(f"not a ResponseMessage in JSON: {data!r}: {error}") from error
        check(kind in range(4), f"message type {kind!r} was never in the old wire: {data!r}")
        # As Go's encoding/json with omitempty: the order of the fields, no spaces, no zero values.
        expected = {}
        if kind != STDOUT:
            expected["msgType"] = kind
        if content:
            expected["content"] = base64.b64encode(content).decode()
        expected = json.dumps(expected, separators=(",", ":")).encode()
        check(data == expected, f"not the old encoder's bytes: {data!r}, it writes {expected!r}")
        return kind, content


class Session:
    """One WebSocket connection, as an old client holds it. Checks each message as it comes."""

    def __init__(self, options, path, app=None):
        self.codec = JsonCodec if options.mode == "web" else ProtobufCodec
        self.opened_at = None
        self.decoders = {}
        self.close_code = None
        names = {
            "access_token": options.token,
            "app_name": app or options.app,
            "proc_name": options.proc,
            "instance_no": options.instance,
        }
        url = options.gateway.rstrip("/") + path
        headers = []
        if options.mode == "web":
            url += "?method=web"
        else:
            headers = [f"{name.replace('_', '-')}: {value}" for name, value in names.items()]
            headers.append(f"term-type: {TERM_TYPE}")
        try:
            self.socket = websocket.create_connection(url, timeout=10, header=headers)
        except Exception as error:
            raise Failure(f"no upgrade at {url}: {error}") from error
        check(self.socket.getstatus() == 101, f"upgrade answered {self.socket.getstatus()}")
        self.opened_at = time.monotonic()
        if options.mode == "web":
            self.socket.send(json.dumps(names))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown()

    def send(self, kind, content):
        opcode, data = self.codec.encode(kind, content)
        self.socket.send(data, opcode)

    def receive(self, deadline):
        """The next message as (type, content); None for the close frame; Failure at the deadline."""
        while True:
            remaining = deadline - time.monotonic()
            check(remaining > 0, "nothing came in time")
            self.socket.settimeout(remaining)
            try:
                opcode, data = self.socket.recv_data(control_frame=True)
            except websocket.WebSocketTimeoutException:
                raise Failure("nothing came in time") from None
            except (websocket.WebSocketException, OSError) as error:
                raise Failure(f"the connection ended without a close frame: {error}") from error
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self.close_code = int.from_bytes(data[:2], "big") if len(data) >= 2 else None
                return None
            if opcode in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
                continue
            check(opcode == websocket.ABNF.OPCODE_BINARY, f"a frame of opcode {opcode}, the old server's are binary")
            kind, content = self.codec.decode(data)
            if kind == PING:
                check(content == b"ping", f"a PING with {content!r}")
            if kind in (STDOUT, STDERR):
                check(content, f"{TYPE_NAMES[kind]} without content")
                self.check_whole_characters(kind, content)
            return kind, content

    @staticmethod
    def check_whole_characters(kind, content):
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        decoder.decode(content)
        check(
            decoder.getstate()[0] == b"",
            f"{TYPE_NAMES[kind]} cut inside a character: it ends with {content[-8:]!r}",
        )
        check(content[0] & 0xC0 != 0x80, f"{TYPE_NAMES[kind]} begins inside a character: {content[:8]!r}")

    def read_until(self, wanted, seconds, what):
        """Collects output (STDOUT) until it holds `wanted`."""
        output = b""
        deadline = time.monotonic() + seconds
        while wanted not in output:
            try:
                message = self.receive(deadline)
            except Failure as failure:
                raise Failure(f"{what}: {failure}; waiting for {wanted!r} after {output[-300:]!r}") from failure
            check(message is not None, f"{what}: the session was closed ({self.close_code}) after {output[-300:]!r}")
            kind, content = message
            check(kind != CLOSE, f"{what}: CLOSE {content!r} after {output[-300:]!r}")
            if kind in (STDOUT, STDERR):
                output += content
        return output

    def read_close(self, seconds):
        """What comes until the close frame; returns the content of CLOSE, which must be the last message."""
        close = None
        deadline = time.monotonic() + seconds
        while True:
            message = self.receive(deadline)
            if message is None:
                check(close is not None, f"a close frame ({self.close_code}) without a CLOSE message before it")
                return close
            check(close is None, f"{TYPE_NAMES[message[0]]} {message[1]!r} came after CLOSE")
            if message[0] == CLOSE:
                close = message[1]


def scenario_enter(options):
    with Session(options, "/enter") as session:
        # Rubbish where a size should stand is ignored; the last real size counts.
        for content in (b"", b"x", b"101", b"101  37", b"1 2 3", b"-1 5", b"99999999999 1", b"\xff\xfe \x00", b"80 24"):
            session.send(WINCH, content)
        session.send(WINCH, b"101 37")
        # What is typed is echoed: the quotes keep the wanted text out of the echo.
        session.send(PLAIN, b"stty size; echo END''OF SIZE\n")
        output = session.read_until(b"ENDOF SIZE", 20, "stty size")
        check(b"37 101\r\n" in output, f"`stty size` after WINCH 101 37 gave {output!r}")

        # A web client names no terminal: it gets the default.
        term = "xterm-256color" if options.mode == "web" else TERM_TYPE
        session.send(PLAIN, b"echo TERM''IS=$TERM.\n")
        session.read_until(b"TERMIS=" + term.encode() + b".\r\n", 10, "echo $TERM")

        command = f"for i in {{1..{MULTI_BYTE_LINES}}}; do printf '%s\\n' '{MULTI_BYTE_LINE}'; done; echo END''OF TEXT\n"
        session.send(PLAIN, b"stty -echo\n")
        session.send(PLAIN, command.encode())
        output = session.read_until(b"ENDOF TEXT", 60, "multi-byte output")
        lines = output.count(MULTI_BYTE_LINE.encode() + b"\r\n")
        check(lines >= MULTI_BYTE_LINES, f"{lines} of {MULTI_BYTE_LINES} multi-byte lines came whole")

        # A character typed in two messages arrives in one piece.
        euro = "€".encode()
        session.send(PLAIN, b"printf '<%s>' " + euro[:1])
        session.send(PLAIN, euro[1:] + b"\n")
        session.read_until(b"<" + euro + b">", 10, "a character typed in two pieces")

        session.send(PLAIN, b"exit 7\n")
        close = session.read_close(10)
        check(close == QUIT_SAFELY, f"CLOSE holds {close!r}, not {QUIT_SAFELY!r}")
        check(session.close_code == 1000, f"close code {session.close_code}, not 1000")


def scenario_notfound(options):
    for path in ("/enter", "/attach"):
        with Session(options, path, app="nosuch") as session:
            close = session.read_close(15)
            check(NOT_FOUND in close, f"{path}: CLOSE holds {close!r}, without the sentence {NOT_FOUND!r}")
            check(close.startswith(NOT_FOUND[: -len(b"\x1b[0m")]), f"{path}: CLOSE begins otherwise: {close!r}")


def scenario_ping(options):
    with Session(options, "/enter") as session:
        times = []
        # Each gap is 10 s; only the first may be shorter, for each session has a phase of its own.
        deadline = session.opened_at + 11
        while len(times) < options.pings:
            message = session.receive(deadline)
            check(message is not None, f"closed ({session.close_code}) while idle")
            check(message[0] != CLOSE, f"CLOSE while idle: {message[1]!r}")
            if message[0] == PING:
                times.append(time.monotonic())
                deadline = times[-1] + 11
        first = times[0] - session.opened_at
        check(4 <= first <= 10.5, f"the first PING came {first:.2f} s after the upgrade")
        for earlier, later in zip(times, times[1:]):
            check(abs(later - earlier - 10) <= 0.5, f"a gap of {later - earlier:.2f} s between PINGs")


def scenario_attach(options):
    with Session(options, "/attach") as session:
        wanted = {STDOUT: options.attach_stdout.encode(), STDERR: options.attach_stderr.encode()}
        seen = {STDOUT: b"", STDERR: b""}
        deadline = time.monotonic() + 15
        while any(wanted[kind] not in seen[kind] for kind in wanted):
            try:
                message = session.receive(deadline)
            except Failure as failure:
                raise Failure(f"{failure}; stdout {seen[STDOUT][-200:]!r}, stderr {seen[STDERR][-200:]!r}") from failure
            check(message is not None, f"closed ({session.close_code}) while the container runs")
            check(message[0] != CLOSE, f"CLOSE while the container runs: {message[1]!r}")
            if message[0] in seen:
                seen[message[0]] += message[1]
            # Read only: what is typed goes nowhere, and harms nothing.
            session.send(PLAIN, b"echo typed\n")
            session.send(WINCH, b"80 24")
        for kind, other in ((STDOUT, STDERR), (STDERR, STDOUT)):
            check(wanted[other] not in seen[kind], f"{wanted[other]!r} came as {TYPE_NAMES[kind]}")


def scenario_plain(options):
    for method, path, status in (
        ("GET", "/api/ping", 200),
        ("GET", "/enter", 426),
        ("GET", "/enter?method=web", 426),
        ("GET", "/attach", 426),
        ("GET", "/nosuch", 404),
        ("GET", "/enterx", 404),
    ):
        connection = http.client.HTTPConnection(urlsplit(options.gateway).netloc, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        check(response.status == status, f"{method} {path} gave {response.status}, not {status}")


SCENARIOS = {
    "enter": scenario_enter,
    "notfound": scenario_notfound,
    "ping": scenario_ping,
    "attach": scenario_attach,
    "plain": scenario_plain,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", required=True, help="ws://HOST:PORT")
    parser.add_argument("--app", required=True, help="as in the header app-name")
    parser.add_argument("--proc", required=True, help="as in proc-name")
    parser.add_argument("--instance", required=True, help="as in instance-no")
    parser.add_argument("--token", default="", help="as in access-token")
    parser.add_argument("--mode", choices=("protobuf", "web"), default="protobuf", help="which old client to be")
    parser.add_argument("--pings", type=int, default=1, metavar="N", help="how many PINGs to wait for (1)")
    parser.add_argument("--attach-stdout", default="to stdout", metavar="TEXT", help="what stands in its output")
    parser.add_argument("--attach-stderr", default="to stderr", metavar="TEXT", help="what stands in its errors")
    parser.add_argument("scenario", nargs="+", choices=SCENARIOS)
    options = parser.parse_args()

    failed = False
    for name in options.scenario:
        started = time.monotonic()
        try:
            SCENARIOS[name](options)
        except Failure as failure:
            failed = True
            print(f"FAILED {options.mode} {name}: {failure}", file=sys.stderr)
        else:
            print(f"ok     {options.mode} {name} ({time.monotonic() - started:.1f} s)")
    sys.exit(failed)


if __name__ == "__main__":
    main()
