// A terminal on the page: xterm.js with what belongs to it. Knows no session.

import { FitAddon } from "@xterm/addon-fit";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { Terminal } from "@xterm/xterm";
import { decodeClipboard } from "./clipboard.ts";
import { h } from "./dom.ts";
import { FONT_SIZE, settings } from "./settings.ts";
import { dark, light } from "./themes.ts";

const FONTS =
  'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono", monospace';
/** Letters that are smaller cannot be read. */
const WATCHED_FONT_LEAST = FONT_SIZE.least / 2;
const SCROLLBACK_LINES = { terminal: 10_000, follow: 30_000 };
const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
const isWindows = navigator.platform.startsWith("Win");

export interface ScreenListener {
  typed(bytes: Uint8Array): void;
  resized(columns: number, rows: number): void;
  /** A key is pressed before the terminal sees it; whether that is all that it does. */
  pressed(event: KeyboardEvent): boolean;
  titled(title: string): void;
  rang(): void;
  scrolled(): void;
}

export class Screen {
  readonly element = h("div", { class: "screen" });
  readonly terminal: Terminal;
  readonly #fit = new FitAddon();
  readonly #listener: ScreenListener;
  readonly #watch: ResizeObserver;
  /** The size that the terminal has, whatever the window's is: it is somebody else's. */
  #fixed: { columns: number; rows: number } | undefined;
  /** Keys of the row for phones that hold for the next letter. */
  ctrl = false;
  alt = false;

  /** One that is looked at, or also typed into. */
  constructor(isFollowing: boolean, listener: ScreenListener) {
    this.#listener = listener;
    this.terminal = new Terminal({
      allowProposedApi: true,
      convertEol: isFollowing,
      cursorBlink: !isFollowing,
      cursorInactiveStyle: isFollowing ? "none" : "outline",
      disableStdin: isFollowing,
      fontFamily: FONTS,
      macOptionClickForcesSelection: true,
      rightClickSelectsWord: isMac,
      scrollback: isFollowing ? SCROLLBACK_LINES.follow : SCROLLBACK_LINES.terminal,
      smoothScrollDuration: 0,
    });
    const { terminal } = this;
    terminal.loadAddon(this.#fit);
    terminal.loadAddon(new Unicode11Addon());
    terminal.unicode.activeVersion = "11";
    terminal.loadAddon(new WebLinksAddon((event, uri) => this.#follow(event, uri)));
    terminal.parser.registerOscHandler(52, (data) => this.#toClipboard(decodeClipboard(data)));
    terminal.attachCustomKeyEventHandler((event) => this.#key(event));
    const encoder = new TextEncoder();
    terminal.onData((data) => listener.typed(encoder.encode(this.#withHeldKeys(data))));
    // Reports of the mouse in its old form: characters stand for bytes.
    terminal.onBinary((data) => listener.typed(Uint8Array.from(data, (character) => character.charCodeAt(0))));
    terminal.onResize(({ cols, rows }) => {
      this.element.dataset.size = `${rows} ${cols}`;
      listener.resized(cols, rows);
    });
    terminal.onTitleChange((title) => listener.titled(title));
    terminal.onBell(() => listener.rang());
    terminal.onScroll(() => listener.scrolled());
    // What the terminal itself does not tell: somebody scrolls, nothing is written.
    this.element.addEventListener("wheel", () => requestAnimationFrame(() => listener.scrolled()), { passive: true });
    this.#watch = new ResizeObserver(() => this.fit());
    this.restyle();
  }

  /** The element is on the page: from now on it is drawn. */
  open(): void {
    this.terminal.open(this.element);
    this.#drawFast();
    this.fit();
    this.#watch.observe(this.element);
  }

  close(): void {
    this.#watch.disconnect();
    this.terminal.dispose();
    this.element.remove();
  }

  /** Fills its place; not while it is not to be seen. */
  fit(): void {
    if (this.element.clientWidth === 0 || this.element.clientHeight === 0) return;
    if (this.#fixed) this.#fitLetters(this.#fixed.columns, this.#fixed.rows);
    else this.#fit.fit();
  }

  /** From now on it is as big as somebody else's terminal. */
  beSized(columns: number, rows: number, then: () => void): void {
    // In its turn: what came before was for another size.
    this.terminal.write("", () => {
      this.#fixed = { columns, rows };
      this.terminal.resize(columns, rows);
      this.fit();
      then();
    });
  }

  /** Letters as big as somebody likes them, or as small as it takes to see the whole. */
  #fitLetters(columns: number, rows: number): void {
    const { options } = this.terminal;
    const room = this.#fit.proposeDimensions();
    const now = options.fontSize ?? settings.fontSize;
    if (!room) return;
    const fitting = Math.floor(now * Math.min(room.cols / columns, room.rows / rows));
    const size = Math.max(WATCHED_FONT_LEAST, Math.min(settings.fontSize, fitting));
    if (size !== now) options.fontSize = size;
  }

  restyle(): void {
    const isLight =
      settings.theme === "light" ||
      (settings.theme === "system" && matchMedia("(prefers-color-scheme: light)").matches);
    Object.assign(this.terminal.options, {
      fontSize: settings.fontSize,
      screenReaderMode: settings.screenReader,
      theme: isLight ? light : dark,
      // Programs think of dark terminals: on paper their yellow would be gone.
      minimumContrastRatio: isLight ? 4.5 : 1,
    });
    this.fit();
  }

  /** Switches off what a program has left switched on (its colours, the mouse, the other screen), then says this. */
  calmDown(text: string): void {
    const { terminal } = this;
    // In its turn: what the program has said last may not be drawn yet.
    terminal.write("\x1b[!p\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1004l", () => {
      terminal.write(terminal.buffer.active.type === "alternate" ? `\x1b[?1049l${text}` : text);
    });
  }

  focus(): void {
    this.terminal.focus();
  }

  async copy(): Promise<void> {
    if (this.terminal.hasSelection()) this.#toClipboard(this.terminal.getSelection());
  }

  async paste(): Promise<void> {
    const text = await navigator.clipboard?.readText().catch(() => "");
    if (text) this.terminal.paste(text);
  }

  /** Everything that is still known, for a file. */
  text(): string {
    const buffer = this.terminal.buffer.active;
    const lines: string[] = [];
    for (let at = 0; at < buffer.length; at += 1) {
      const line = buffer.getLine(at);
      const text = line?.translateToString(true) ?? "";
      if (line?.isWrapped && lines.length > 0) lines[lines.length - 1] += text;
      else lines.push(text);
    }
    return `${lines.join("\n").trimEnd()}\n`;
  }

  get isAtBottom(): boolean {
    const buffer = this.terminal.buffer.active;
    return buffer.viewportY >= buffer.baseY;
  }

  /** By the graphics card, where there is one that the browser lets us have and as long as it lasts. */
  #drawFast(): void {
    this.element.dataset.renderer = "dom";
    if (!hasGraphicsCard()) return;
    try {
      const webgl = new WebglAddon();
      webgl.onContextLoss(() => {
        webgl.dispose();
        this.element.dataset.renderer = "dom";
      });
      this.terminal.loadAddon(webgl);
      this.element.dataset.renderer = "webgl";
    } catch {
      // Slower, and as good.
    }
  }

  #key(event: KeyboardEvent): boolean {
    if (event.type !== "keydown") return true;
    if (this.#listener.pressed(event)) {
      event.preventDefault();
      return false;
    }
    // As terminals have it: with Shift, or Insert. Pasting is the browser's own doing then.
    const { code, ctrlKey, shiftKey, altKey, metaKey } = event;
    const isCopy = (ctrlKey && shiftKey && code === "KeyC") || (ctrlKey && !shiftKey && code === "Insert");
    const isPaste = (ctrlKey && shiftKey && code === "KeyV") || (shiftKey && !ctrlKey && code === "Insert");
    if (altKey || metaKey) return true;
    if (isCopy || (isWindows && ctrlKey && !shiftKey && code === "KeyC" && this.terminal.hasSelection())) {
      event.preventDefault();
      this.copy();
      this.terminal.clearSelection();
      return false;
    }
    return !(isPaste || (isWindows && ctrlKey && !shiftKey && code === "KeyV"));
  }

  #withHeldKeys(data: string): string {
    if (!(this.ctrl || this.alt) || [...data].length !== 1) return data;
    const code = data.toUpperCase().charCodeAt(0);
    const letter = this.ctrl && code >= 0x40 && code < 0x60 ? String.fromCharCode(code & 0x1f) : data;
    const typed = this.alt ? `\x1b${letter}` : letter;
    this.ctrl = this.alt = false;
    this.element.dispatchEvent(new Event("released", { bubbles: true }));
    return typed;
  }

  /** A program may put something into the clipboard; what is in there it never gets. */
  #toClipboard(text: string | undefined): boolean {
    if (text === undefined) return true;
    if (navigator.clipboard) {
      navigator.clipboard.writeText(text).catch(() => {});
      return true;
    }
    // Over plain HTTP browsers have nothing better.
    const area = h("textarea", { class: "away", readonly: true, "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    this.focus();
    return true;
  }

  #follow(event: MouseEvent, uri: string): void {
    // A click may be meant for the program, or for selecting.
    if (event.ctrlKey || event.metaKey || this.terminal.modes.mouseTrackingMode === "none") {
      window.open(uri, "_blank", "noopener,noreferrer");
    }
  }
}

/** Where the processor plays the card, WebGL is slower than doing without it. */
function hasGraphicsCard(): boolean {
  const context = h("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
  const names = context?.getExtension("WEBGL_debug_renderer_info");
  const card = names ? String(context?.getParameter(names.UNMASKED_RENDERER_WEBGL)) : "";
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return context !== null && !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(card);
}
