// Where somebody says what to enter, and who he is.

import { h } from "./dom.ts";
import { currentToken, isTokenKept, keepToken, settings } from "./settings.ts";
import { fromLink, isWhole, NOTHING, type Target, toLink, toName } from "./target.ts";

export class Welcome {
  readonly #app = h("input", {
    name: "app",
    autocapitalize: "off",
    autocomplete: "off",
    spellcheck: "false",
  });
  readonly #proc = h("input", { name: "proc", autocapitalize: "off", autocomplete: "off", spellcheck: "false" });
  readonly #instance = h("input", {
    name: "instance",
    autocomplete: "off",
    inputmode: "numeric",
    placeholder: "the only one",
  });
  readonly #container = h("input", {
    name: "container",
    autocapitalize: "off",
    autocomplete: "off",
    spellcheck: "false",
  });
  readonly #token = h("input", { name: "token", type: "password", autocomplete: "off", spellcheck: "false" });
  readonly #keep = h("input", { name: "keep", type: "checkbox" });
  readonly #problem = h("p", { class: "problem", role: "alert" });
  readonly #recent = h("nav", { class: "recent", "aria-label": "Entered before" });
  readonly #byApp = h(
    "div",
    { class: "fields three" },
    field("App", this.#app),
    field("Proc", this.#proc),
    field("Instance", this.#instance),
  );
  readonly #byName = h("div", { class: "fields", hidden: true }, field("Container", this.#container));
  readonly #kinds: HTMLButtonElement[];
  readonly element: HTMLElement;
  readonly #enter: (target: Target) => void;

  /** What is entered; and what opens a recording from somebody's own disk. */
  constructor(enter: (target: Target) => void, open: () => void) {
    this.#enter = enter;
    const kind = (name: string, isByName: boolean) =>
      h(
        "button",
        { type: "button", "aria-pressed": String(!isByName), onclick: () => this.#choose(isByName, true) },
        name,
      );
    this.#kinds = [kind("App and proc", false), kind("Container by name", true)];
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
        h("div", { class: "kinds", role: "group", "aria-label": "What to enter" }, ...this.#kinds),
        this.#byApp,
        this.#byName,
        field("Access token", this.#token, "Leave it empty if single sign-on knows you already."),
        h("label", { class: "keep" }, this.#keep, "Keep it until this browser tab is closed"),
        this.#problem,
        h(
          "div",
          { class: "actions" },
          h("button", { type: "submit", class: "primary", value: "enter" }, "Enter"),
          h("button", { type: "submit", value: "attach" }, "Follow its output"),
        ),
        this.#recent,
        h("button", { type: "button", class: "recording", onclick: open }, "Open a recording"),
      ),
    );
  }

  /** Shows it, with a target that was wanted already and what stood in the way. */
  show(target: Target = NOTHING, problem = ""): void {
    this.element.hidden = false;
    if (isWhole(target)) {
      [this.#app.value, this.#proc.value, this.#instance.value, this.#container.value] = [
        target.app,
        target.proc,
        target.instance,
        target.container,
      ];
      this.#choose(target.container !== "", false);
    }
    this.#token.value = currentToken();
    this.#keep.checked = isTokenKept();
    this.#problem.textContent = problem;
    const links = settings.recent.map((link) => [link, fromLink(link)] as const);
    this.#recent.replaceChildren(
      ...links.map(([link, old]) =>
        old ? h("a", { href: link }, toName(old), old.attach && h("small", {}, " output")) : "",
      ),
    );
    const first = isWhole(target) ? this.#token : this.#byName.hidden ? this.#app : this.#container;
    first.focus();
    first.select();
  }

  hide(): void {
    this.element.hidden = true;
    this.#token.value = "";
  }

  #choose(isByName: boolean, focus: boolean): void {
    this.#byApp.hidden = isByName;
    this.#byName.hidden = !isByName;
    this.#kinds.forEach((button, at) => {
      button.setAttribute("aria-pressed", String((at === 1) === isByName));
    });
    if (focus) (isByName ? this.#container : this.#app).focus();
  }

  #submit(attach: boolean): void {
    const isByName = !this.#byName.hidden;
    const word = (input: HTMLInputElement) => input.value.trim();
    const target: Target = isByName
      ? { ...NOTHING, container: word(this.#container), attach }
      : { ...NOTHING, app: word(this.#app), proc: word(this.#proc), instance: word(this.#instance), attach };
    if (!isWhole(target) || !fromLink(toLink(target))) {
      this.#problem.textContent = isByName ? "Name the container." : "Name the app and the proc.";
      return;
    }
    keepToken(this.#token.value.trim(), this.#keep.checked);
    this.#enter(target);
  }
}

function field(name: string, input: HTMLInputElement, hint?: string): HTMLElement {
  return h("label", { class: "field" }, h("span", {}, name), input, hint !== undefined && h("small", {}, hint));
}
