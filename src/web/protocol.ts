// The messages of entry.v1 (proto/README.md), as far as a page needs them. Pure: bytes ⇄ values.

export const SUBPROTOCOL = "entry.v1";

/** Who asks for what; see Hello in proto/message.proto. */
export interface Hello {
  token: string;
  app: string;
  proc: string;
  instance: string;
  container: string;
  isTerminal: boolean;
  columns: number;
  rows: number;
  /** How many of the last lines an attached viewer gets first. */
  tail?: number;
  /** How much output Entry may send ahead of what the page says it has shown. */
  windowBytes: number;
  /** The session to watch. */
  watch: string;
}

/** What Entry says of a session that is open now; user, target and whether it is on a terminal only to a watcher. */
export interface Opened {
  session: string;
  container: string;
  user: string;
  target: string;
  isTerminal: boolean;
}

export type FromEntry =
  | { type: "output"; bytes: Uint8Array }
  | { type: "close"; text: string; outcome: number; exitStatus: number; session: string }
  | { type: "ping" }
  | ({ type: "opened" } & Opened)
  | { type: "mark" }
  | { type: "echo"; content: Uint8Array }
  | { type: "size"; columns: number; rows: number }
  | { type: "unknown" };

/** Outcomes that the page does more about than telling their text. */
export const Outcome = { exited: 1, stopped: 5, removed: 6, refused: 15, watchedEnded: 27 } as const;

const text = new TextEncoder();
const plainText = new TextDecoder();

const Request = { winch: 1, hello: 2, marked: 4, echo: 5 } as const;
const Response = { stdout: 0, stderr: 1, close: 2, ping: 3, opened: 4, mark: 5, echo: 6, size: 7 } as const;

export function encodeHello(hello: Hello): Uint8Array<ArrayBuffer> {
  const fields = [
    string(1, hello.token),
    string(2, hello.app),
    string(3, hello.proc),
    string(4, hello.instance),
    string(5, hello.container),
    number(7, hello.isTerminal ? 1 : 0),
    number(8, hello.isTerminal ? 1 : 0),
    string(12, hello.isTerminal ? "xterm-256color" : ""),
    number(13, hello.columns),
    number(14, hello.rows),
    // Nought lines is something else than not saying how many.
    hello.tail === undefined ? [] : [...varint(15 << 3), ...varint(hello.tail)],
    number(16, hello.windowBytes),
    string(17, hello.watch),
  ];
  return join(number(1, Request.hello), bytes(3, join(...fields)));
}

export function encodeInput(content: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes(2, content);
}

export function encodeSize(columns: number, rows: number): Uint8Array<ArrayBuffer> {
  return join(number(1, Request.winch), bytes(2, text.encode(`${columns} ${rows}`)));
}

/** Everything before the last MARK has been shown. */
export function encodeMarked(): Uint8Array<ArrayBuffer> {
  return join(number(1, Request.marked));
}

/** Entry gives the content back at once. */
export function encodeEcho(content: Uint8Array): Uint8Array<ArrayBuffer> {
  return join(number(1, Request.echo), bytes(2, content));
}

/** Reads a message; what is no message, or one of a later version, is unknown. */
export function decode(message: Uint8Array): FromEntry {
  const fields = readFields(message);
  if (fields === undefined) return { type: "unknown" };
  const content = fields.bytes.get(2) ?? new Uint8Array();
  switch (fields.numbers.get(1) ?? 0) {
    case Response.stdout:
    case Response.stderr:
      return { type: "output", bytes: content };
    case Response.close: {
      const close = readFields(fields.bytes.get(3) ?? new Uint8Array());
      const outcome = close?.numbers.get(1) ?? 0;
      const exitStatus = close?.numbers.get(2) ?? 0;
      const session = plainText.decode(close?.bytes.get(3));
      return { type: "close", text: plainText.decode(content), outcome, exitStatus, session };
    }
    case Response.ping:
      return { type: "ping" };
    case Response.opened: {
      const opened = readFields(fields.bytes.get(4) ?? new Uint8Array());
      const word = (tag: number) => plainText.decode(opened?.bytes.get(tag));
      const isTerminal = opened?.numbers.get(5) === 1;
      return { type: "opened", session: word(1), container: word(2), user: word(3), target: word(4), isTerminal };
    }
    case Response.mark:
      return { type: "mark" };
    case Response.echo:
      return { type: "echo", content };
    case Response.size: {
      const [columns = 0, rows = 0] = plainText.decode(content).split(" ").map(Number);
      return columns > 0 && rows > 0 ? { type: "size", columns, rows } : { type: "unknown" };
    }
    default:
      return { type: "unknown" };
  }
}

interface Fields {
  numbers: Map<number, number>;
  bytes: Map<number, Uint8Array>;
}

/** The fields of a protobuf message, the last of each tag; nothing if it is none. */
function readFields(message: Uint8Array): Fields | undefined {
  const fields: Fields = { numbers: new Map(), bytes: new Map() };
  let at = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = message[at++];
      if (byte === undefined) break;
      // Not `<<`, which knows 32 bits only.
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    return Number.NaN;
  };
  while (at < message.length) {
    const key = readVarint();
    const tag = Math.floor(key / 8);
    switch (key % 8) {
      case 0: {
        const value = readVarint();
        if (Number.isNaN(value)) return undefined;
        fields.numbers.set(tag, value);
        break;
      }
      case 1:
        at += 8;
        break;
      case 2: {
        const length = readVarint();
        if (!(at + length <= message.length)) return undefined;
        fields.bytes.set(tag, message.subarray(at, at + length));
        at += length;
        break;
      }
      case 5:
        at += 4;
        break;
      default:
        return undefined;
    }
  }
  return at === message.length ? fields : undefined;
}

function varint(value: number): number[] {
  const out = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  out.push(rest);
  return out;
}

/** Protobuf leaves out what is nought, or empty. */
function number(tag: number, value: number): number[] {
  return value === 0 ? [] : [...varint(tag << 3), ...varint(value)];
}

function string(tag: number, value: string): Uint8Array<ArrayBuffer> {
  return bytes(tag, text.encode(value));
}

function bytes(tag: number, value: Uint8Array): Uint8Array<ArrayBuffer> {
  if (value.length === 0) return new Uint8Array();
  return join([...varint((tag << 3) | 2), ...varint(value.length)], value);
}

function join(...parts: ArrayLike<number>[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
