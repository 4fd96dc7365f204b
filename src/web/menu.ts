// The menu: everything that the page can do, by the pointer or by the keyboard alone.

import { h } from "./dom.ts";

export interface Item {
  label: string;
  /** How it is called without the menu, or what it is set to. */
  note?: string;
  run(): void;
}

export class Menu {
  readonly #list = h("div", {
    class: "list",
    role: "menu",
    tabindex: "-1",
    onkeydown: (event) => this.#key(event as KeyboardEvent),
  });
  readonly element: HTMLElement = h(
    "div",
    { class: "menu", hidden: true, onpointerdown: (event) => event.target === this.element && this.close() },
    this.#list,
  );
  #closed: () => void = () => {};

  open(items: (Item | undefined)[], closed: () => void): void {
    this.#closed = closed;
    this.#list.replaceChildren(
      ...items.map((item) =>
        item
          ? h(
              "button",
              { type: "button", role: "menuitem", tabindex: "-1", onclick: () => this.#run(item) },
              h("span", {}, item.label),
              item.note !== undefined && h("kbd", {}, item.note),
            )
          : h("hr"),
      ),
    );
    this.element.hidden = false;
    this.#list.querySelector("button")?.focus();
  }

  get isOpen(): boolean {
    return !this.element.hidden;
  }

  close(): void {
    if (!this.isOpen) return;
    this.element.hidden = true;
    this.#closed();
  }

  #run(item: Item): void {
    this.close();
    item.run();
  }

  #key(event: KeyboardEvent): void {
    const items = [...this.#list.querySelectorAll("button")];
    const at = items.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) items.at(to % items.length)?.focus();
    else if (event.key === "Escape" || event.key === "Tab") this.close();
    else {
      // A letter goes to the next item that begins with it.
      const letter = event.key.toLowerCase();
      const next = [...items.slice(at + 1), ...items].find((item) =>
        item.textContent?.toLowerCase().startsWith(letter),
      );
      if (event.key.length !== 1 || !next || letter === " ") return;
      next.focus();
    }
    event.preventDefault();
  }
}
