// The bar for finding text in what a screen has shown.

import { h } from "./dom.ts";
import type { Screen } from "./screen.ts";
import { find, MATCHES_MAX, type Match, type Rows } from "./search.ts";

export class FindBar {
  readonly #input = h("input", {
    type: "search",
    "aria-label": "Find in the terminal",
    placeholder: "Find",
    spellcheck: "false",
    oninput: () => this.#search(),
    onkeydown: (event) => this.#key(event as KeyboardEvent),
  });
  readonly #count = h("span", { class: "count", role: "status" });
  readonly element = h(
    "div",
    { class: "find", role: "search", hidden: true },
    this.#input,
    this.#count,
    h("button", { type: "button", "aria-label": "Earlier match (Enter)", onclick: () => this.#step(-1) }, "↑"),
    h("button", { type: "button", "aria-label": "Later match (Shift Enter)", onclick: () => this.#step(1) }, "↓"),
    h("button", { type: "button", "aria-label": "Close (Esc)", onclick: () => this.close() }, "×"),
  );
  #screen: Screen | undefined;
  #matches: Match[] = [];
  #at = -1;

  open(screen: Screen): void {
    this.#screen = screen;
    this.element.hidden = false;
    const selected = screen.terminal.getSelection();
    if (selected && !selected.includes("\n")) this.#input.value = selected;
    this.#input.focus();
    this.#input.select();
    this.#search();
  }

  close(): void {
    if (this.element.hidden) return;
    this.element.hidden = true;
    this.#matches = [];
    this.#screen?.focus();
  }

  #key(event: KeyboardEvent): void {
    if (event.key === "Enter") this.#step(event.shiftKey ? 1 : -1);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
  }

  #search(): void {
    if (!this.#screen) return;
    this.#matches = find(rowsOf(this.#screen), this.#input.value);
    // The last thing that was shown is what most people look for.
    this.#at = this.#matches.length;
    this.#step(-1);
  }

  #step(by: number): void {
    const count = this.#matches.length;
    const terminal = this.#screen?.terminal;
    if (!terminal) return;
    if (count === 0) {
      this.#count.textContent = this.#input.value ? "nothing" : "";
      terminal.clearSelection();
      return;
    }
    this.#at = (this.#at + by + count) % count;
    const match = this.#matches[this.#at];
    if (!match) return;
    terminal.select(match.column, match.row, match.length);
    terminal.scrollToLine(Math.max(0, match.row - Math.floor(terminal.rows / 2)));
    this.#count.textContent = `${this.#at + 1} of ${count === MATCHES_MAX ? `${count} and more` : count}`;
  }
}

function rowsOf(screen: Screen): Rows {
  const buffer = screen.terminal.buffer.active;
  const cell = buffer.getNullCell();
  return {
    columns: screen.terminal.cols,
    length: buffer.length,
    row: (at) => {
      const line = buffer.getLine(at);
      return (
        line && {
          text: line.translateToString(false),
          isWrapped: line.isWrapped,
          cells: () =>
            Array.from({ length: line.length }, (_, column) => {
              const here = line.getCell(column, cell);
              return here?.getWidth() === 0 ? "" : here?.getChars() || " ";
            }),
        }
      );
    },
  };
}
