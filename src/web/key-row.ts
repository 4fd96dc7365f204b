// The keys that phones lack, in a row under the terminal.

import { h } from "./dom.ts";
import type { Screen } from "./screen.ts";

/** What each types; arrows and the like as a keyboard's own, since programs choose what those say. */
const KEYS: [label: string, name: string, key: string][] = [
  ["Esc", "Escape", "Escape"],
  ["Tab", "Tab", "Tab"],
  ["Ctrl", "Control, for the next key", ""],
  ["Alt", "Alt, for the next key", ""],
  ["←", "Left", "ArrowLeft"],
  ["↓", "Down", "ArrowDown"],
  ["↑", "Up", "ArrowUp"],
  ["→", "Right", "ArrowRight"],
  ["^C", "Control C, interrupt", "\x03"],
  ["/", "Slash", "/"],
  ["|", "Pipe", "|"],
  ["-", "Minus", "-"],
  ["~", "Tilde", "~"],
  ["Home", "Home", "Home"],
  ["End", "End", "End"],
  ["PgUp", "Page up", "PageUp"],
  ["PgDn", "Page down", "PageDown"],
];
const CURSOR: Record<string, string> = {
  ArrowUp: "A",
  ArrowDown: "B",
  ArrowRight: "C",
  ArrowLeft: "D",
  Home: "H",
  End: "F",
};
const OTHER: Record<string, string> = { Escape: "\x1b", Tab: "\t", PageUp: "\x1b[5~", PageDown: "\x1b[6~" };

/** What a key says to a program, which may have asked for cursor keys of the other kind (DECCKM). */
export function says(key: string, applicationCursor: boolean): string {
  const cursor = CURSOR[key];
  if (cursor) return `\x1b${applicationCursor ? "O" : "["}${cursor}`;
  return OTHER[key] ?? key;
}

export function keyRow(screen: () => Screen | undefined): HTMLElement {
  const row = h("div", { class: "keys", role: "toolbar", "aria-label": "Keys" });
  const held = { Ctrl: "ctrl", Alt: "alt" } as const;
  const show = () => {
    for (const button of row.querySelectorAll("button")) {
      const which = held[button.textContent as keyof typeof held];
      if (which) button.setAttribute("aria-pressed", String(screen()?.[which] ?? false));
    }
  };
  for (const [label, name, key] of KEYS) {
    const press = (event: Event) => {
      // The terminal keeps the focus, and the phone its keyboard.
      event.preventDefault();
      const here = screen();
      if (!here) return;
      const which = held[label as keyof typeof held];
      if (which) here[which] = !here[which];
      else here.terminal.input(says(key, here.terminal.modes.applicationCursorKeysMode));
      show();
    };
    // By the pointer before the focus moves; by the keyboard as a click without one.
    const click = (event: Event) => (event as MouseEvent).detail === 0 && press(event);
    row.append(h("button", { type: "button", "aria-label": name, onpointerdown: press, onclick: click }, label));
  }
  document.addEventListener("released", show);
  return row;
}
