// Where somebody says what to enter, and who he is.

import { Choice } from "./choice.ts";
import { h } from "./dom.ts";
import { currentToken, isTokenKept, keepToken, settings } from "./settings.ts";
import { fromLink, isWhole, NOTHING, type Target, toLink, toName } from "./target.ts";

/** A way to name what is wanted. */
interface Way {
  button: HTMLButtonElement;
  fields: HTMLElement;
  /** What is said where it names nothing. */
  problem: string;
}

export class Welcome {
  readonly #app = word("app");
  readonly #proc = word("proc");
  readonly #instance = h("input", {
    name: "instance",
    autocomplete: "off",
    inputmode: "numeric",
    placeholder: "the only one",
  });
  readonly #container = word("container");
  readonly #session = word("session");
  readonly #token = h("input", { name: "token", type: "password", autocomplete: "off", spellcheck: "false" });
  readonly #keep = h("input", { name: "keep", type: "checkbox" });
  readonly #problem = h("p", { class: "problem", role: "alert" });
  readonly #choice = new Choice((target) => this.#go(target));
  readonly #recent = h("nav", { class: "recent", "aria-label": "Entered before" });
  readonly #ways: Way[];
  readonly element: HTMLElement;
  readonly #enterButton = h("button", { type: "submit", class: "primary", value: "enter" }, "Enter");
  readonly #followButton = h("button", { type: "submit", value: "attach" }, "Follow its output");
  #chosen: Way | undefined;
  readonly #enter: (target: Target) => void;

  constructor(enter: (target: Target) => void) {
    this.#enter = enter;
    const way = (name: string, problem: string, ...fields: HTMLElement[]): Way => {
      const button = h("button", { type: "button", onclick: () => this.#choose(chosen, true) }, name);
      const chosen = {
        button,
        fields: h("div", { class: fields.length > 1 ? "fields three" : "fields" }, ...fields),
        problem,
      };
      return chosen;
    };
    this.#ways = [
      way(
        "App and proc",
        "Name the app and the proc.",
        field("App", this.#app),
        field("Proc", this.#proc),
        field("Instance", this.#instance),
      ),
      way("Container by name", "Name the container.", field("Container", this.#container)),
      way(
        "Watch a session",
        "Name the session by its id: two numbers of 16 digits, with a colon between them.",
        field("Session", this.#session, "Its id, as who is in it or the operator of the gateway can tell."),
      ),
    ];
    this.element = h(
      "main",
      { class: "welcome" },
      h(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            this.#submit(((event as SubmitEvent).submitter as HTMLButtonElement | null)?.value === "attach");
          },
        },
        h("h1", {}, "Entry"),
        h("p", { class: "lead" }, "A terminal in your container."),
        h(
          "div",
          { class: "kinds", role: "group", "aria-label": "What to enter" },
          ...this.#ways.map(({ button }) => button),
        ),
        ...this.#ways.map(({ fields }) => fields),
        field("Access token", this.#token, "Leave it empty if single sign-on knows you already."),
        h("label", { class: "keep" }, this.#keep, "Keep it until this browser tab is closed"),
        this.#problem,
        h("div", { class: "actions" }, this.#enterButton, this.#followButton),
        this.#choice.element,
        this.#recent,
      ),
    );
    this.#token.addEventListener("change", () => void this.#choice.load(this.#token.value.trim()));
    this.#choose(this.#ways[0], false);
  }

  /** Shows it, with a target that was wanted already and what stood in the way. */
  show(target: Target = NOTHING, problem = ""): void {
    this.element.hidden = false;
    if (isWhole(target)) {
      [this.#app.value, this.#proc.value, this.#instance.value] = [target.app, target.proc, target.instance];
      [this.#container.value, this.#session.value] = [target.container, target.watch];
      this.#choose(this.#ways[target.watch ? 2 : target.container ? 1 : 0], false);
    }
    this.#token.value = currentToken();
    void this.#choice.load(currentToken());
    this.#keep.checked = isTokenKept();
    this.#problem.textContent = problem;
    const links = settings.recent.map((link) => [link, fromLink(link)] as const);
    this.#recent.replaceChildren(
      ...links.map(([link, old]) =>
        old ? h("a", { href: link }, toName(old), old.attach && h("small", {}, " output")) : "",
      ),
    );
    const first = isWhole(target) ? this.#token : this.#chosen?.fields.querySelector("input");
    first?.focus();
    first?.select();
  }

  hide(): void {
    this.element.hidden = true;
    this.#token.value = "";
  }

  #choose(chosen: Way | undefined, focus: boolean): void {
    this.#chosen = chosen;
    for (const { button, fields } of this.#ways) {
      fields.hidden = fields !== chosen?.fields;
      button.setAttribute("aria-pressed", String(!fields.hidden));
    }
    const isWatching = chosen === this.#ways[2];
    this.#enterButton.textContent = isWatching ? "Watch" : "Enter";
    this.#followButton.hidden = isWatching;
    if (focus) chosen?.fields.querySelector("input")?.focus();
  }

  #submit(attach: boolean): void {
    const said = (input: HTMLInputElement) => input.value.trim();
    const targets: Target[] = [
      { ...NOTHING, app: said(this.#app), proc: said(this.#proc), instance: said(this.#instance), attach },
      { ...NOTHING, container: said(this.#container), attach },
      { ...NOTHING, watch: said(this.#session) },
    ];
    const target = targets[this.#chosen ? this.#ways.indexOf(this.#chosen) : 0] ?? NOTHING;
    if (!isWhole(target) || !fromLink(toLink(target))) {
      this.#problem.textContent = this.#chosen?.problem ?? "";
      return;
    }
    this.#go(target);
  }

  #go(target: Target): void {
    keepToken(this.#token.value.trim(), this.#keep.checked);
    this.#enter(target);
  }
}

function word(name: string): HTMLInputElement {
  return h("input", { name, autocapitalize: "off", autocomplete: "off", spellcheck: "false" });
}

function field(name: string, input: HTMLInputElement, hint?: string): HTMLElement {
  return h("label", { class: "field" }, h("span", {}, name), input, hint !== undefined && h("small", {}, hint));
}
