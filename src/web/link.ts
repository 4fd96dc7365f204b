// One session with Entry over one WebSocket: what it is in, how long an answer takes, and when nobody answers any more.
// Knows no terminal; time and the socket are handed in, so that tests have their own.

import {
  decode,
  encodeEcho,
  encodeHello,
  encodeInput,
  encodeMarked,
  encodeSize,
  type Hello,
  type Opened,
  Outcome,
  SUBPROTOCOL,
} from "./protocol.ts";

/** Input goes in messages of so many bytes; Entry takes up to 1 MiB. */
const INPUT_BYTES_MAX = 64 * 1024;
/** How often the way there and back is measured. */
const ECHO_MS = 5_000;
/** After so long without an answer it is said that there is none. */
const SILENT_MS = 3_000;
/** PINGs come every 10 s: after so long without anything the connection is dead (proto/README.md). */
const DEAD_MS = 25_000;
/** The clock by which all of this is looked at. */
const TICK_MS = 1_000;

const COLOUR = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, "g");

export type State =
  | { name: "connecting" }
  | { name: "connected"; roundTripMs: number | undefined }
  | { name: "silent"; seconds: number }
  | { name: "ended"; text: string; outcome: number; exitStatus: number }
  | { name: "lost"; text: string };

/** What a link is given. */
export interface Surroundings {
  connect(url: string, protocol: string): WebSocket;
  now(): number;
  every(ms: number, work: () => void): () => void;
  /** Whether the gateway answers plain requests; asked when a WebSocket is refused, of which browsers tell nothing. */
  isThere(): Promise<boolean>;
}

export interface Listener {
  stateChanged(state: State): void;
  opened(opened: Opened): void;
  /** Output; the callback is for when everything until here has been shown. */
  output(bytes: Uint8Array): void;
  whenShown(callback: () => void): void;
  /** The terminal that is watched has this size. */
  sized?(columns: number, rows: number): void;
}

export class Link {
  state: State = { name: "connecting" };
  readonly #socket: WebSocket;
  readonly #around: Surroundings;
  readonly #listener: Listener;
  readonly #stopClock: () => void;
  readonly #began: number;
  #heardAt: number;
  #echoAt = Number.NEGATIVE_INFINITY;
  #echoNumber = 0;
  /** When the echo that is out was sent. */
  #waitsSince: number | undefined;
  #roundTripMs: number | undefined;
  #isUpgraded = false;

  constructor(url: string, hello: Hello, listener: Listener, around: Surroundings) {
    this.#around = around;
    this.#listener = listener;
    this.#began = this.#heardAt = around.now();
    this.#socket = around.connect(url, SUBPROTOCOL);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => {
      this.#isUpgraded = true;
      this.#heardAt = around.now();
      this.#socket.send(encodeHello(hello));
    };
    this.#socket.onmessage = (event) => this.#hear(new Uint8Array(event.data as ArrayBuffer));
    this.#socket.onclose = (event) => void this.#closed(event);
    this.#stopClock = around.every(TICK_MS, () => this.#tick());
  }

  get isOver(): boolean {
    return this.state.name === "ended" || this.state.name === "lost";
  }

  type(input: Uint8Array): void {
    for (let at = 0; at < input.length; at += INPUT_BYTES_MAX) {
      this.#send(encodeInput(input.subarray(at, at + INPUT_BYTES_MAX)));
    }
  }

  resize(columns: number, rows: number): void {
    this.#send(encodeSize(columns, rows));
  }

  /** Somebody has reason to believe that the network has changed: look at once. */
  probe(): void {
    if (this.state.name === "connected" || this.state.name === "silent") this.#echo();
  }

  /** Leaves: Entry ends what was begun. */
  close(): void {
    this.#become({ name: "ended", text: "You left.", outcome: 0, exitStatus: 0 });
    this.#socket.close(1000);
  }

  #send(message: Uint8Array<ArrayBuffer>): void {
    if (this.#socket.readyState === 1 && !this.isOver) this.#socket.send(message);
  }

  #hear(bytes: Uint8Array): void {
    if (this.isOver) return;
    this.#heardAt = this.#around.now();
    if (this.state.name === "silent") this.#become({ name: "connected", roundTripMs: this.#roundTripMs });
    const message = decode(bytes);
    switch (message.type) {
      case "output":
        return this.#listener.output(message.bytes);
      case "mark":
        return this.#listener.whenShown(() => this.#send(encodeMarked()));
      case "opened":
        this.#become({ name: "connected", roundTripMs: undefined });
        // At first the page has a lot to draw, which would be measured along with the way.
        this.#echoAt = this.#heardAt - ECHO_MS + TICK_MS / 2;
        return this.#listener.opened(message);
      case "echo":
        return this.#echoed(message.content);
      case "size":
        return this.#listener.sized?.(message.columns, message.rows);
      case "close":
        return this.#become({
          name: "ended",
          text: plain(message.text) + nameOf(message),
          outcome: message.outcome,
          exitStatus: message.exitStatus,
        });
      case "ping":
      case "unknown":
        return;
    }
  }

  async #closed(event: CloseEvent): Promise<void> {
    if (this.isOver) return;
    if (this.#isUpgraded) {
      // Entry says CLOSE before it closes: without it, the way was cut.
      const why = event.reason ? `: ${event.reason}` : ".";
      return this.#become({ name: "lost", text: `The connection is lost${why}` });
    }
    const isThere = await this.#around.isThere();
    if (this.isOver) return;
    const text = isThere
      ? "The gateway is there, but it takes no session from this page: it may be full, or not permit the address of this page."
      : "The gateway cannot be reached.";
    this.#become({ name: "lost", text });
  }

  #echo(): void {
    this.#echoAt = this.#around.now();
    this.#waitsSince ??= this.#echoAt;
    this.#echoNumber += 1;
    this.#send(encodeEcho(new TextEncoder().encode(String(this.#echoNumber))));
  }

  #echoed(content: Uint8Array): void {
    this.#waitsSince = undefined;
    // Of several that are out the last one counts.
    if (new TextDecoder().decode(content) !== String(this.#echoNumber)) return;
    this.#roundTripMs = this.#around.now() - this.#echoAt;
    if (this.state.name === "connected") this.#become({ name: "connected", roundTripMs: this.#roundTripMs });
  }

  #tick(): void {
    const now = this.#around.now();
    const silentMs = now - this.#heardAt;
    if (silentMs > DEAD_MS && this.#isUpgraded) {
      this.#become({
        name: "lost",
        text: `The connection is lost: nothing has come for ${Math.round(silentMs / 1000)} s.`,
      });
      this.#socket.close();
      return;
    }
    if (this.state.name !== "connected" && this.state.name !== "silent") return;
    const isUnanswered = this.#waitsSince !== undefined && now - this.#waitsSince > SILENT_MS;
    if (isUnanswered && silentMs > SILENT_MS) {
      this.#become({ name: "silent", seconds: Math.round(silentMs / 1000) });
    }
    if (now - this.#echoAt >= ECHO_MS) this.#echo();
  }

  #become(state: State): void {
    if (this.isOver) return;
    this.state = state;
    if (this.isOver) this.#stopClock();
    this.#listener.stateChanged(state);
  }

  /** How long it has been there. */
  get ageMs(): number {
    return this.#around.now() - this.#began;
  }
}

/** By which name the operator finds a session in the log; told where something went wrong. */
function nameOf(close: { outcome: number; session: string }): string {
  return close.session === "" || close.outcome === Outcome.exited ? "" : ` (session ${close.session})`;
}

/** What Entry says at the end, without its colours. */
export function plain(text: string): string {
  return text
    .replace(COLOUR, "")
    .replace(/^\s*>>> /, "")
    .trim();
}
