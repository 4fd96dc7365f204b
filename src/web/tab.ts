// A tab: one target, its screen, and the session that is open there now.

import { Link, type State } from "./link.ts";
import { Outcome } from "./protocol.ts";
import { Screen } from "./screen.ts";
import { currentToken } from "./settings.ts";
import { type Target, toName } from "./target.ts";

/** How much output Entry may send ahead of what has been drawn: enough for the way, and little to look away from. */
const WINDOW_BYTES = 512 * 1024;
/** The same for what follows a container: there it is what may come in a burst without a line being skipped. */
const FOLLOW_WINDOW_BYTES = 4 * 1024 * 1024;
const FOLLOW_LINES = 1_000;
/** How often, and how many times, it is looked whether a container that is gone has been replaced. */
const SUCCESSOR_MS = 2_000;
const SUCCESSOR_LOOKS = 45;

/** What a tab is in, for the dot, the bar and whoever listens. */
export interface Status {
  kind: "busy" | "good" | "odd" | "bad" | "over";
  text: string;
  /** Enter, or the button, begins anew. */
  again: string | undefined;
}

export interface TabListener {
  changed(tab: Tab): void;
  /** Access is refused: somebody has to sign in. */
  refused(tab: Tab, text: string): void;
  pressed(event: KeyboardEvent): boolean;
}

/** Where a WebSocket of this page's own gateway is, below whatever base path. */
function address(what: "enter" | "attach" | "watch"): string {
  const url = new URL(what, location.href.split("#")[0]);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

const around = {
  connect: (url: string, protocol: string) => new WebSocket(url, protocol),
  now: () => performance.now(),
  every: (ms: number, work: () => void) => {
    const timer = setInterval(work, ms);
    return () => clearInterval(timer);
  },
  isThere: () =>
    fetch(new URL("api/ping", location.href.split("#")[0]), { cache: "no-store" }).then(
      (answer) => answer.ok,
      () => false,
    ),
};

let count = 0;

export class Tab {
  readonly target: Target;
  readonly screen: Screen;
  readonly id = `tab-${++count}`;
  title = "";
  /** The bell rang, or something was written, while nobody looked. */
  calls = false;
  status: Status = { kind: "busy", text: "connecting", again: undefined };
  readonly #listener: TabListener;
  #link: Link | undefined;
  #container = "";
  /** Whom and where one watches. */
  #watched = "";
  #began = 0;
  #looking: ReturnType<typeof setTimeout> | undefined;
  #probe: Link | undefined;
  #isClosed = false;

  constructor(target: Target, listener: TabListener) {
    this.target = target;
    this.#listener = listener;
    this.screen = new Screen(!this.isTyped, {
      typed: (bytes) => this.#link?.type(bytes),
      resized: (columns, rows) => this.isTyped && this.#link?.resize(columns, rows),
      pressed: (event) => this.#pressed(event),
      titled: (title) => {
        this.title = title;
        listener.changed(this);
      },
      rang: () => this.#rang(),
      scrolled: () => this.isFollowing && listener.changed(this),
    });
    this.screen.element.id = this.id;
    this.screen.element.setAttribute("role", "tabpanel");
    this.screen.element.setAttribute("aria-label", toName(target));
  }

  /** What is typed goes somewhere. */
  get isTyped(): boolean {
    return !this.target.attach && !this.target.watch;
  }

  /** What comes goes on and on, and the newest is at the bottom. */
  get isFollowing(): boolean {
    return this.target.attach;
  }

  get isOpen(): boolean {
    return this.#link !== undefined && !this.#link.isOver;
  }

  /** Begins a session, a first or a next one. The screen is on the page already, so its size is known. */
  enter(): void {
    if (this.isOpen) return;
    this.#lookNoMore();
    const { terminal } = this.screen;
    if (this.#began > 0) this.screen.calmDown("\r\n");
    this.title = "";
    this.#began = performance.now();
    const { attach, watch } = this.target;
    const doing = watch ? "looking for the session" : attach ? "looking for the container" : "entering";
    this.#tell({ kind: "busy", text: doing, again: undefined });
    const { isTyped } = this;
    const link: Link = new Link(
      address(watch ? "watch" : attach ? "attach" : "enter"),
      {
        ...this.target,
        token: currentToken(),
        isTerminal: isTyped,
        columns: isTyped ? terminal.cols : 0,
        rows: isTyped ? terminal.rows : 0,
        ...(attach ? { tail: FOLLOW_LINES } : {}),
        windowBytes: attach ? FOLLOW_WINDOW_BYTES : WINDOW_BYTES,
      },
      {
        // What an old session still says does not matter any more.
        stateChanged: (state) => this.#link === link && this.#stateChanged(state),
        opened: (opened) => {
          this.#container = opened.container;
          if (watch) {
            this.#watched = `${opened.user} in ${opened.target}`;
            terminal.options.convertEol = !opened.isTerminal;
          }
          // Who is fast has changed the window meanwhile.
          if (isTyped) link.resize(terminal.cols, terminal.rows);
        },
        sized: (columns, rows) => this.screen.beSized(columns, rows, () => this.#listener.changed(this)),
        output: (bytes) => {
          if (this.#link !== link) return;
          terminal.write(bytes);
        },
        whenShown: (callback) => terminal.write("", callback),
      },
      around,
    );
    this.#link = link;
  }

  /** Leaves; Entry ends what was begun. */
  close(): void {
    this.#isClosed = true;
    this.#lookNoMore();
    this.#link?.close();
    this.screen.close();
  }

  probe(): void {
    this.#link?.probe();
  }

  #pressed(event: KeyboardEvent): boolean {
    const isPlain = !(event.ctrlKey || event.altKey || event.metaKey || event.shiftKey);
    if (event.key === "Enter" && isPlain && this.#link?.isOver) {
      this.enter();
      return true;
    }
    return this.#listener.pressed(event);
  }

  #rang(): void {
    this.calls = true;
    this.screen.element.classList.add("rings");
    setTimeout(() => this.screen.element.classList.remove("rings"), 150);
    this.#listener.changed(this);
  }

  #stateChanged(state: State): void {
    const again = this.target.watch ? "Watch again" : this.target.attach ? "Follow again" : "Enter again";
    switch (state.name) {
      case "connecting":
        return;
      case "connected": {
        const ms = state.roundTripMs;
        const way = ms === undefined ? "" : ` · ${ms < 9.5 ? ms.toFixed(1) : Math.round(ms)} ms`;
        const what = this.#watched ? `watching ${this.#watched}` : "connected";
        return this.#tell({ kind: "good", text: `${what}${way}`, again: undefined });
      }
      case "silent":
        return this.#tell({ kind: "odd", text: `no answer for ${state.seconds} s`, again: undefined });
      case "lost":
        this.#say(state.text, false);
        return this.#tell({ kind: "bad", text: "lost", again });
      case "ended":
        return this.#ended(state, again);
    }
  }

  #ended(state: State & { name: "ended" }, again: string): void {
    if (this.#isClosed) return;
    const { outcome, exitStatus, text } = state;
    const isExit = outcome === Outcome.exited;
    if (outcome === Outcome.refused) {
      this.#tell({ kind: "bad", text: "refused", again });
      return this.#listener.refused(this, text);
    }
    this.#say(isExit && exitStatus !== 0 ? `${text} Exit status ${exitStatus}.` : text, isExit && exitStatus === 0);
    if (isExit) {
      return this.#tell({ kind: "over", text: `ended, exit status ${exitStatus}`, again });
    }
    if (outcome === Outcome.watchedEnded) {
      return this.#tell({ kind: "over", text: "the session has ended", again });
    }
    if (outcome === Outcome.stopped || outcome === Outcome.removed) {
      const what = outcome === Outcome.stopped ? "container stopped" : "container removed";
      this.#tell({ kind: "bad", text: what, again });
      return this.#lookForSuccessor(what, SUCCESSOR_LOOKS);
    }
    this.#tell({ kind: "bad", text: "ended", again });
  }

  /** In the terminal, where everybody looks, as `entry enter` says it. */
  #say(text: string, isGood: boolean): void {
    const colour = isGood ? 32 : 31;
    const hint = "Press Enter to begin anew.";
    this.screen.calmDown(`\r\n\x1b[${colour}m>>> ${text}\x1b[0m\r\n\x1b[2m    ${hint}\x1b[0m\r\n`);
  }

  #tell(status: Status): void {
    this.status = status;
    this.#listener.changed(this);
  }

  /**
   * A container that is gone may be deployed anew. It is looked for by following it, which starts nothing in it, and left
   * as soon as it is found: whether it is entered is for the person to say.
   */
  #lookForSuccessor(what: string, looks: number): void {
    if (looks === 0) return;
    this.#looking = setTimeout(() => {
      const found = (container: string) => {
        this.#lookNoMore();
        const isSame = container === this.#container;
        const news = isSame
          ? "The container runs again"
          : `The container has been replaced by ${container.slice(0, 12)}`;
        this.screen.terminal.write(`\x1b[32m>>> ${news}: press Enter to enter it.\x1b[0m\r\n`);
        this.#tell({
          kind: "over",
          text: isSame ? "runs again" : "replaced",
          again: isSame ? "Enter again" : "Enter the new one",
        });
      };
      const hello = {
        ...this.target,
        token: currentToken(),
        isTerminal: false,
        columns: 0,
        rows: 0,
        tail: 0,
        windowBytes: 1,
      };
      const probe = new Link(
        address("attach"),
        hello,
        {
          opened: ({ container }) => found(container),
          output: () => {},
          whenShown: () => {},
          stateChanged: (state) => {
            if (this.#probe !== probe) return;
            if (state.name === "ended" && state.outcome === Outcome.refused) return this.#lookNoMore();
            if (state.name === "ended" || state.name === "lost") this.#lookForSuccessor(what, looks - 1);
          },
        },
        around,
      );
      this.#probe = probe;
    }, SUCCESSOR_MS);
  }

  #lookNoMore(): void {
    clearTimeout(this.#looking);
    const probe = this.#probe;
    this.#probe = undefined;
    probe?.close();
  }
}
