// What somebody may enter, where the gateway can tell: a list that typing makes shorter. Where it cannot, there is none.

import { h } from "./dom.ts";
import { NOTHING, type Target, toLink, toName } from "./target.ts";

/** So many rows are drawn; who has more types. */
const ROWS_MAX = 60;
const AGAIN_MS = 1_200;

export interface Listed {
  /** What Enter does there. */
  target: Target;
  /** Its output may be followed besides. */
  follows: boolean;
}

/** The gateway's answer, as far as it makes sense; what is neither entered nor followed is left out. */
export function readList(answer: unknown): Listed[] {
  const rows: unknown[] = (answer as { targets?: unknown[] } | null)?.targets ?? [];
  return rows.flatMap((row) => {
    const said = row as Partial<Record<"app" | "proc" | "instance" | "container", string>> & { rights?: string[] };
    const { app = "", proc = "", instance = "", container = "", rights = [] } = said;
    const target = { ...NOTHING, app, proc, instance, container };
    if (rights.includes("enter")) return [{ target, follows: rights.includes("attach") }];
    return rights.includes("attach") ? [{ target: { ...target, attach: true }, follows: false }] : [];
  });
}

/** Those whose name has all the words of the filter in it. */
export function matching(listed: Listed[], filter: string): Listed[] {
  const words = filter.toLowerCase().split(/[\s/]+/);
  return listed.filter(({ target }) => words.every((word) => toName(target).toLowerCase().includes(word)));
}

export class Choice {
  readonly #filter = h("input", {
    type: "search",
    "aria-label": "Find in the list",
    placeholder: "Type to find",
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => this.#show(),
  });
  readonly #rows = h("ul");
  readonly #more = h("small", { role: "status" });
  readonly element: HTMLElement = h(
    "section",
    {
      class: "choice",
      hidden: true,
      "aria-label": "What you may enter",
      onkeydown: (event) => this.#key(event as KeyboardEvent),
    },
    this.#filter,
    this.#rows,
    this.#more,
  );
  readonly #choose: (target: Target) => void;
  #listed: Listed[] = [];
  #asked = 0;

  constructor(choose: (target: Target) => void) {
    this.#choose = choose;
  }

  /** Asks what somebody with this token may enter. */
  async load(token: string, isAgain = false): Promise<void> {
    this.#asked += 1;
    const asked = this.#asked;
    const url = new URL("api/targets", location.href.split("#")[0]);
    const headers: Record<string, string> = token ? { "access-token": token } : {};
    let answer: { targets?: unknown[]; why?: string } | undefined;
    try {
      answer = await (await fetch(url, { headers, cache: "no-store" })).json();
    } catch {
      // An older gateway, or none: what is wanted is typed.
    }
    // Of several questions the last one counts.
    if (asked !== this.#asked) return;
    this.#listed = readList(answer);
    this.#show();
    const isBusy = answer?.why?.includes("ask again");
    if (isBusy && !isAgain) setTimeout(() => asked === this.#asked && void this.load(token, true), AGAIN_MS);
  }

  #show(): void {
    this.element.hidden = this.#listed.length === 0;
    const found = matching(this.#listed, this.#filter.value);
    this.#rows.replaceChildren(...found.slice(0, ROWS_MAX).map((listed) => this.#row(listed)));
    const more = found.length - ROWS_MAX;
    this.#more.textContent = found.length === 0 ? "None is called so." : more > 0 ? `and ${more} more` : "";
  }

  #row({ target, follows }: Listed): HTMLElement {
    const link = (to: Target, ...words: (Node | string)[]) =>
      h(
        "a",
        {
          href: toLink(to),
          onclick: (event) => {
            event.preventDefault();
            this.#choose(to);
          },
        },
        ...words,
      );
    const output = h("small", {}, "output");
    if (target.attach) return h("li", {}, link(target, toName(target), " ", output));
    return h("li", {}, link(target, toName(target)), follows && link({ ...target, attach: true }, output));
  }

  #key(event: KeyboardEvent): void {
    const links = [...this.#rows.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    if (event.key === "Enter" && document.activeElement === this.#filter) {
      // The first is what is meant, once there is something to mean.
      event.preventDefault();
      if (this.#filter.value) links[0]?.click();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      links[Math.min(at + 1, links.length - 1)]?.focus();
    } else if (event.key === "ArrowUp" && at >= 0) {
      event.preventDefault();
      (links[at - 1] ?? this.#filter).focus();
    }
  }
}
