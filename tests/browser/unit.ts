// The page's pure parts: messages, links, settings, finding, keys, and a link over a socket that is none.

import assert from "node:assert/strict";
import { test } from "node:test";
import { clock, findInCast, Player, readCast, sizeOf } from "../../src/web/cast.ts";
import { matching, readList } from "../../src/web/choice.ts";
import { decodeClipboard } from "../../src/web/clipboard.ts";
import { says } from "../../src/web/key-row.ts";
import { Link, type Listener, plain, type State, type Surroundings } from "../../src/web/link.ts";
import * as protocol from "../../src/web/protocol.ts";
import { find, type Rows } from "../../src/web/search.ts";
import { read, withRecent } from "../../src/web/settings.ts";
import { fromLink, isWhole, NOTHING, toLink, toName } from "../../src/web/target.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytes = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
const NOBODY = {
  token: "",
  app: "",
  proc: "",
  instance: "",
  container: "",
  isTerminal: false,
  columns: 0,
  rows: 0,
  windowBytes: 0,
  watch: "",
};

test("messages are those of proto/README.md", () => {
  assert.equal(hex(protocol.encodeInput(new TextEncoder().encode("ls\n"))), "12036c730a");
  assert.equal(hex(protocol.encodeSize(80, 24)), "0801120538302032 34".replace(" ", ""));
  assert.equal(hex(protocol.encodeMarked()), "0804");
  assert.equal(hex(protocol.encodeEcho(bytes("31"))), "0805120131");
  const hello = {
    ...NOBODY,
    token: "t",
    container: "c",
    isTerminal: true,
    columns: 300,
    rows: 24,
    tail: 0,
    windowBytes: 1,
  };
  const body = "0a0174 2a0163 3801 4001 620e787465726d2d323536636f6c6f72 68ac02 7018 7800 800101".replaceAll(" ", "");
  assert.equal(hex(protocol.encodeHello(hello)), `08021a${(body.length / 2).toString(16)}${body}`);
  assert.equal(hex(protocol.encodeHello(NOBODY)), "0802", "what is nought is left out");
});

test("what Entry says is understood, and what nobody understands is unknown", () => {
  assert.deepEqual(protocol.decode(bytes("12026869")), { type: "output", bytes: bytes("6869") });
  assert.deepEqual(protocol.decode(bytes("080112026e6f")), { type: "output", bytes: bytes("6e6f") });
  assert.deepEqual(protocol.decode(bytes("0803120470696e67")), { type: "ping" });
  assert.deepEqual(protocol.decode(bytes("0805")), { type: "mark" });
  assert.deepEqual(protocol.decode(bytes("0806120131")), { type: "echo", content: bytes("31") });
  assert.deepEqual(protocol.decode(bytes("0804 2206 0a0131 120163")), {
    type: "opened",
    session: "1",
    container: "c",
    user: "",
    target: "",
    isTerminal: false,
  });
  assert.deepEqual(protocol.decode(bytes("0802 12026869 1a08 0801 10ff01 1a0139")), {
    type: "close",
    text: "hi",
    outcome: 1,
    exitStatus: 255,
    session: "9",
  });
  assert.deepEqual(protocol.decode(bytes("0863")), { type: "unknown" });
  // Fields of a later version are skipped, of every wire type.
  assert.deepEqual(protocol.decode(bytes("f80701 f90700000000000000 00 fd0700000000 fa07016112 0161")), {
    type: "output",
    bytes: bytes("61"),
  });
  const whole = bytes("0804 2206 0a0131 120163");
  for (let length = 0; length < whole.length; length += 1) {
    // Cut anywhere, it is another message, or none; never an error.
    protocol.decode(whole.subarray(0, length));
  }
  assert.deepEqual(protocol.decode(bytes("12ff")), { type: "unknown" });
  assert.deepEqual(protocol.decode(bytes("1205 61")), { type: "unknown" });
});

test("links name targets", () => {
  const table: [string, Partial<typeof NOTHING> | undefined][] = [
    ["#/shop/api", { app: "shop", proc: "api" }],
    ["#/shop/api/2", { app: "shop", proc: "api", instance: "2" }],
    ["/shop/api/", { app: "shop", proc: "api" }],
    ["#/web", { container: "web" }],
    ["#/web?attach", { container: "web", attach: true }],
    ["#/a%2Fb/c%20d", { app: "a/b", proc: "c d" }],
    ["#/?watch=0123456789abcdef:000000000000001a", { watch: "0123456789abcdef:000000000000001a" }],
    ["#/?watch=1:2", undefined],
    ["#/web?watch=0123456789abcdef:000000000000001a", { container: "web" }],
    ["", undefined],
    ["#", undefined],
    ["#/", undefined],
    ["#shop/api", undefined],
    ["#//api", undefined],
    ["#/a/b/c/d", undefined],
    ["#/%zz", undefined],
  ];
  for (const [link, target] of table) {
    assert.deepEqual(fromLink(link), target && { ...NOTHING, ...target }, link);
    if (target) assert.deepEqual(fromLink(toLink({ ...NOTHING, ...target })), { ...NOTHING, ...target });
  }
  assert.equal(toLink({ ...NOTHING, app: "a/b", proc: "c d", attach: true }), "#/a%2Fb/c%20d?attach");
  assert.equal(toName({ ...NOTHING, app: "a", proc: "b", instance: "3" }), "a/b/3");
  assert.equal(toName({ ...NOTHING, watch: "0123456789abcdef:000000000000001a" }), "session 1a");
  assert.ok(!isWhole({ ...NOTHING, app: "a" }) && isWhole({ ...NOTHING, watch: "x" }));
});

test("a list of targets is read, and found in", () => {
  const answer = {
    targets: [
      { app: "shop", proc: "web", instance: "1", rights: ["enter", "attach"] },
      { container: "db", rights: ["attach"] },
      { app: "shop", proc: "cron", rights: ["exec"] },
    ],
  };
  const web = { target: { ...NOTHING, app: "shop", proc: "web", instance: "1" }, follows: true };
  const db = { target: { ...NOTHING, container: "db", attach: true }, follows: false };
  assert.deepEqual(readList(answer), [web, db]);
  for (const odd of [undefined, null, {}, { targets: [] }, { targets: [{}] }]) assert.deepEqual(readList(odd), []);
  const table: [string, object[]][] = [
    ["", [web, db]],
    ["SHOP/w", [web]],
    ["1 sho", [web]],
    ["d", [db]],
    ["none", []],
  ];
  for (const [filter, found] of table) assert.deepEqual(matching(readList(answer), filter), found, filter);
});

test("what is remembered makes sense or is forgotten", () => {
  const usual = read(null);
  assert.deepEqual(usual, { theme: "system", fontSize: 14, screenReader: false, keys: undefined, recent: [] });
  for (const odd of [
    "",
    "{",
    "[]",
    "null",
    "7",
    '{"theme":"pink","fontSize":"big","screenReader":1,"recent":[1,"x"]}',
  ]) {
    assert.deepEqual(read(odd), usual, odd);
  }
  assert.equal(read('{"fontSize":1000}').fontSize, 32);
  assert.deepEqual(read('{"theme":"light","keys":true,"recent":["#/a/b"]}'), {
    ...usual,
    theme: "light",
    keys: true,
    recent: ["#/a/b"],
  });
  const target = { ...NOTHING, app: "a", proc: "b" };
  assert.deepEqual(withRecent(["#/c", "#/a/b"], target), ["#/a/b", "#/c"]);
  assert.equal(
    withRecent(
      Array.from("123456789", (name) => `#/${name}`),
      target,
    ).length,
    8,
  );
});

test("text is found over row ends and behind wide letters", () => {
  const lines: [string[], boolean][] = [
    [[..."one tw"], false],
    [[..."o two "], true],
    [["中", "", "文", "", "t", "w"], false],
    [[..."o Two "], true],
  ];
  const rows: Rows = {
    columns: 6,
    length: lines.length,
    row: (at) => {
      const line = lines[at];
      return line && { text: line[0].join(""), isWrapped: line[1], cells: () => line[0] };
    },
  };
  assert.deepEqual(find(rows, "two"), [
    { row: 0, column: 4, length: 3 },
    { row: 1, column: 2, length: 3 },
    { row: 2, column: 4, length: 3 },
    { row: 3, column: 2, length: 3 },
  ]);
  assert.deepEqual(find(rows, "Two"), [{ row: 3, column: 2, length: 3 }]);
  assert.deepEqual(find(rows, "文"), [{ row: 2, column: 2, length: 2 }]);
  assert.deepEqual(find(rows, ""), []);
  assert.deepEqual(find(rows, "three"), []);
});

test("keys of the row say what a keyboard's would", () => {
  assert.deepEqual(
    ["ArrowUp", "Home", "Escape", "PageUp", "|"].map((key) => says(key, false)),
    ["\x1b[A", "\x1b[H", "\x1b", "\x1b[5~", "|"],
  );
  assert.equal(says("ArrowUp", true), "\x1bOA");
});

test("a program may fill the clipboard and not read it", () => {
  assert.equal(decodeClipboard("c;aMOp"), "hé");
  for (const data of ["c;?", "c", "", "c;***"]) assert.equal(decodeClipboard(data), undefined, data);
});

test("colours are left out of what is told", () => {
  assert.equal(plain("\x1b[32m>>> You quit the container safely.\x1b[0m"), "You quit the container safely.");
});

/** A link over a socket that is none, with a clock that is set by hand. */
function linked(isThere = true) {
  const states: State[] = [];
  const sent: string[] = [];
  const shown: (() => void)[] = [];
  const socket = {
    readyState: 1,
    closed: 0,
    send: (data: Uint8Array) => sent.push(hex(data)),
    close: () => (socket.closed += 1),
  };
  const handlers = socket as unknown as {
    onopen(): void;
    onmessage(event: object): void;
    onclose(event: object): void;
  };
  const clock = { now: 0, tick: () => {} };
  const around: Surroundings = {
    connect: () => socket as unknown as WebSocket,
    now: () => clock.now,
    every: (_, work) => {
      clock.tick = work;
      return () => {};
    },
    isThere: () => Promise.resolve(isThere),
  };
  const listener: Listener = {
    stateChanged: (state) => states.push(state),
    opened: () => {},
    output: () => {},
    whenShown: (callback) => shown.push(callback),
  };
  const link = new Link("ws://x/enter", NOBODY, listener, around);
  const pass = (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) {
      clock.now += 1000;
      clock.tick();
    }
  };
  const hear = (message: string) => handlers.onmessage({ data: bytes(message).buffer });
  return {
    link,
    states,
    sent,
    shown,
    socket,
    clock,
    pass,
    hear,
    open: () => handlers.onopen(),
    cut: () => handlers.onclose({ reason: "" }),
  };
}

const OPENED = "0804 2206 0a0131 120163";

test("a link says hello, measures the way, and marks only what has been shown", () => {
  const { states, sent, shown, clock, pass, hear, open } = linked();
  open();
  hear(OPENED);
  pass(1);
  assert.deepEqual(sent, ["0802", "0805120131"]);
  clock.now += 12;
  hear("0806120131");
  assert.deepEqual(states, [
    { name: "connected", roundTripMs: undefined },
    { name: "connected", roundTripMs: 12 },
  ]);
  hear("0805");
  assert.equal(sent.length, 2, "nothing has been shown yet");
  shown[0]?.();
  assert.equal(sent[2], "0804");
});

test("silence is told, and then it is death", () => {
  const { states, pass, hear, open, socket } = linked();
  open();
  hear(OPENED);
  pass(6);
  assert.deepEqual(states.at(-1), { name: "silent", seconds: 6 });
  hear("0803");
  assert.equal(states.at(-1)?.name, "connected");
  pass(26);
  assert.equal(states.at(-1)?.name, "lost");
  assert.equal(socket.closed, 1);
});

test("output that comes in without an echo is no silence", () => {
  const { states, pass, hear, open } = linked();
  open();
  hear(OPENED);
  for (let second = 0; second < 20; second += 1) {
    pass(1);
    hear("12026869");
  }
  assert.ok(states.every((state) => state.name === "connected"));
});

test("an end is told once, and a cut is none", async () => {
  const ended = linked();
  ended.open();
  ended.hear(OPENED);
  ended.hear("0802 12026869 1a05 0801 1a0139");
  ended.cut();
  assert.deepEqual(ended.states.at(-1), { name: "ended", text: "hi", outcome: 1, exitStatus: 0 });
  const refused = linked();
  refused.open();
  refused.hear("0802 12026869 1a05 080f 1a0139");
  assert.deepEqual(refused.states.at(-1), { name: "ended", text: "hi (session 9)", outcome: 15, exitStatus: 0 });
  const cut = linked();
  cut.open();
  cut.hear(OPENED);
  cut.cut();
  assert.equal(cut.states.at(-1)?.name, "lost");
  for (const [isThere, words] of [
    [true, "is there"],
    [false, "cannot be reached"],
  ] as const) {
    const refused = linked(isThere);
    refused.cut();
    await Promise.resolve();
    await Promise.resolve();
    const state = refused.states.at(-1);
    assert.ok(state?.name === "lost" && state.text.includes(words), JSON.stringify(state));
  }
});

test("input goes in messages that Entry takes", () => {
  const { link, sent, open, hear } = linked();
  open();
  hear(OPENED);
  sent.length = 0;
  link.type(new Uint8Array(150_000));
  assert.deepEqual(
    sent.map((message) => message.length / 2),
    [65536, 65536, 18928].map((length) => length + 4),
  );
});

const CAST = `{"version":2,"width":80,"height":24,"title":"ada"}
[1,"o","ab\\u001b[1mcd"]
[1,"i","x"]
[1.5,"r","100x50"]
[61,"o","C\\u001b[0mD\\r\\n"]
[62,"m","here"]
[63,"o","end abcd"]
[64,"x","3"]
`;

test("recordings of both versions are read", () => {
  const cast = readCast(CAST);
  assert.deepEqual([cast.columns, cast.rows, cast.title, cast.length, cast.isCut], [80, 24, "ada", 64_000, false]);
  assert.deepEqual(
    cast.events.map(({ at, kind }) => [at, kind]),
    [
      [1_000, "output"],
      [1_500, "size"],
      [61_000, "output"],
      [62_000, "marker"],
      [63_000, "output"],
      [64_000, "exit"],
    ],
  );
  const three = readCast(
    '{"version":3,"term":{"cols":9,"rows":4}}\n# a comment\n[1,"o","a"]\n\n[0.5,"o","b"]\n[1,"o","c',
  );
  assert.deepEqual([three.columns, three.rows, three.length, three.isCut], [9, 4, 1_500, true]);
  assert.deepEqual(sizeOf("100x50"), [100, 50]);
  assert.equal(sizeOf("0x50"), undefined);
});

test("what is no recording is told with its line", () => {
  const table: [string, RegExp][] = [
    ["", /line 1: .*no asciicast/],
    ["[]", /line 1: .*no asciicast/],
    ['{"version":1}', /line 1: .*version 1/],
    ['{"version":2,"width":80}', /line 1: .*size/],
    ['{"version":3,"width":80,"height":24}', /line 1: .*size/],
    ['{"version":2,"width":80,"height":24}\n[1,"o"]\n[2,"o","a"]\n', /line 2: .*this is none/],
    ['{"version":2,"width":80,"height":24}\n[-1,"o","a"]\n', /line 2: .*no time/],
  ];
  for (const [text, expected] of table) assert.throws(() => readCast(text), { message: expected });
});

test("text is found in a recording, whatever colours stand between, and when it was whole", () => {
  const cast = readCast(CAST);
  assert.deepEqual(findInCast(cast, "ABCD"), [1_000, 63_000]);
  assert.deepEqual(findInCast(cast, "dcd"), [61_000]);
  assert.deepEqual(findInCast(cast, "nowhere"), []);
  assert.deepEqual(findInCast(cast, ""), []);
});

test("a recording's clock is stopped, turned and set", () => {
  const said: string[] = [];
  const player = new Player(readCast(CAST), {
    write: (text) => text && said.push(text),
    resize: (columns, rows) => said.push(`${columns}x${rows}`),
    reset: () => said.push("reset"),
  });
  const heard = () => said.splice(0).join("|");
  assert.equal(heard(), "reset");
  player.pass(5_000);
  assert.equal(heard(), "", "it waits for somebody");
  player.toggle();
  player.pass(999);
  assert.equal(heard(), "");
  player.speed = 2;
  player.pass(251);
  assert.equal(heard(), "ab\x1b[1mcd|100x50");
  player.skipsPauses = true;
  player.pass(900);
  assert.ok(player.position > 58_000 && player.position < 61_000);
  player.pass(200);
  assert.equal(heard(), "C\x1b[0mD\r\n");
  player.seek(2_000);
  assert.equal(heard(), "reset|ab\x1b[1mcd|100x50");
  player.seek(99_000);
  assert.deepEqual([player.position, player.isOver, player.word], [64_000, true, "exited with status 3"]);
  heard();
  player.pass(1);
  assert.equal(player.isPlaying, false);
  player.toggle();
  assert.deepEqual([heard(), player.position, player.isPlaying], ["reset", 0, true], "from its beginning");
  assert.deepEqual([clock(65_900), clock(3_605_000)], ["1:05", "1:00:05"]);
});
