// Recordings, shown in the page: a file from one's own disk, which goes nowhere.

import { CAST_BYTES_MAX, CastError, clock, findInCast, Player, readCast } from "./cast.ts";
import { h } from "./dom.ts";
import { Screen } from "./screen.ts";

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16, 64];
const STEP_MS = 5_000;

export class Replay {
  readonly #play = h("button", { type: "button", class: "play", onclick: () => this.#toggle() });
  readonly #seek = h("input", {
    type: "range",
    min: "0",
    step: "100",
    "aria-label": "Position",
    oninput: () => this.#go(Number(this.#seek.value)),
  });
  readonly #time = h("span", { class: "time" });
  readonly #speed = h(
    "select",
    { "aria-label": "Speed", onchange: () => this.#setSpeed(Number(this.#speed.value)) },
    ...SPEEDS.map((speed) => h("option", { value: String(speed) }, `${speed}×`)),
  );
  readonly #pauses = h("input", { type: "checkbox", onchange: () => this.#skip() });
  readonly #find = h("input", {
    type: "search",
    "aria-label": "Find in the recording",
    placeholder: "Find",
    spellcheck: "false",
    oninput: () => this.#search(),
    onkeydown: (event) => this.#findKey(event as KeyboardEvent),
  });
  readonly #count = h("span", { class: "count", role: "status" });
  readonly #word = h("span", { class: "word", role: "status" });
  readonly #place = h("div", { class: "stage" });
  readonly element = h(
    "section",
    {
      class: "replay",
      hidden: true,
      tabindex: "-1",
      "aria-label": "Recording",
      onkeydown: (event) => this.#key(event as KeyboardEvent),
    },
    this.#place,
    h(
      "div",
      { class: "controls" },
      this.#play,
      this.#seek,
      this.#time,
      this.#speed,
      h("label", {}, this.#pauses, "Skip pauses"),
      this.#find,
      this.#count,
      this.#word,
      h("button", { type: "button", "aria-label": "Close the recording", onclick: () => this.close() }, "×"),
    ),
  );
  readonly #closed: () => void;
  #screen: Screen | undefined;
  #player: Player | undefined;
  #times: number[] = [];
  #frame = 0;
  /** The terminal draws what it has been given: the recording waits for it. */
  #isDrawing = false;

  constructor(closed: () => void) {
    this.#closed = closed;
  }

  get isOpen(): boolean {
    return !this.element.hidden;
  }

  /** Shows a file; what is wrong with it otherwise. */
  async open(file: File): Promise<string | undefined> {
    if (file.size > CAST_BYTES_MAX) {
      return `${file.name} is longer than ${CAST_BYTES_MAX >> 20} MiB: entry play shows it in a terminal.`;
    }
    try {
      const cast = readCast(await file.text());
      this.#begin(file.name, cast);
    } catch (error) {
      if (error instanceof CastError) return `${file.name}, ${error.message}.`;
      return `${file.name} cannot be read.`;
    }
    return undefined;
  }

  close(): void {
    if (!this.isOpen) return;
    this.#end();
    this.element.hidden = true;
    this.#closed();
  }

  restyle(): void {
    this.#screen?.restyle();
  }

  #begin(name: string, cast: ReturnType<typeof readCast>): void {
    this.#end();
    this.element.hidden = false;
    const nothing = () => {};
    const screen = new Screen(true, {
      typed: nothing,
      resized: nothing,
      pressed: () => false,
      titled: nothing,
      rang: nothing,
      scrolled: nothing,
    });
    const { terminal } = screen;
    terminal.options.convertEol = false;
    // What a recording says is for the eyes alone.
    terminal.parser.registerOscHandler(52, () => true);
    this.#place.replaceChildren(screen.element);
    screen.open();
    this.#screen = screen;
    this.#player = new Player(cast, {
      write: (text) => {
        this.#isDrawing = true;
        terminal.write(text, () => {
          this.#isDrawing = false;
        });
      },
      resize: (columns, rows) => screen.beSized(columns, rows, nothing),
      reset: (columns, rows) => {
        terminal.write("\x1bc");
        screen.beSized(columns, rows, nothing);
      },
    });
    this.element.setAttribute("aria-label", cast.title || name);
    this.#seek.max = String(Math.ceil(cast.length));
    this.#find.value = "";
    this.#search();
    this.#setSpeed(1);
    this.#skip();
    this.#toggle();
    this.element.focus();
    let before = performance.now();
    const turn = (now: number) => {
      if (!this.#isDrawing) this.#player?.pass(now - before);
      before = now;
      this.#tell();
      this.#frame = requestAnimationFrame(turn);
    };
    this.#frame = requestAnimationFrame(turn);
  }

  #end(): void {
    cancelAnimationFrame(this.#frame);
    this.#screen?.close();
    this.#screen = this.#player = undefined;
  }

  #toggle(): void {
    this.#player?.toggle();
    this.#tell();
  }

  #go(ms: number): void {
    this.#player?.seek(ms);
    this.#tell();
  }

  #setSpeed(speed: number): void {
    this.#speed.value = String(speed);
    if (this.#player) this.#player.speed = speed;
  }

  #skip(): void {
    if (this.#player) this.#player.skipsPauses = this.#pauses.checked;
  }

  #tell(): void {
    const player = this.#player;
    if (!player) return;
    const label = player.isPlaying ? "Pause" : player.isOver ? "Play again" : "Play";
    if (this.#play.getAttribute("aria-label") !== label) {
      this.#play.setAttribute("aria-label", label);
      this.#play.textContent = player.isPlaying ? "⏸" : "▶";
    }
    const time = `${clock(player.position)} / ${clock(player.cast.length)}`;
    if (this.#time.textContent !== time) {
      this.#time.textContent = time;
      this.#seek.setAttribute("aria-valuetext", time);
    }
    this.#seek.value = String(player.position);
    const cut = player.isOver && player.cast.isCut ? "cut: the rest was never written" : "";
    const word = player.word || cut;
    if (this.#word.textContent !== word) this.#word.textContent = word;
  }

  #search(): void {
    this.#times = this.#player ? findInCast(this.#player.cast, this.#find.value) : [];
    const count = this.#times.length;
    this.#count.textContent = this.#find.value === "" ? "" : count === 0 ? "nothing" : `${count} found`;
  }

  #findKey(event: KeyboardEvent): void {
    if (event.key !== "Enter" || !this.#player) return;
    event.preventDefault();
    const { position } = this.#player;
    const later = this.#times.findIndex((time) => time > position);
    const earlier = this.#times.findLastIndex((time) => time < position);
    const count = this.#times.length;
    // Round and round.
    const at = event.shiftKey ? (earlier < 0 ? count - 1 : earlier) : Math.max(0, later);
    const time = this.#times[at];
    if (time === undefined) return;
    this.#player.isPlaying = false;
    this.#count.textContent = `${at + 1} of ${count}`;
    this.#go(time);
  }

  #key(event: KeyboardEvent): void {
    const player = this.#player;
    if (!player || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") this.close();
    // What has keys of its own keeps them.
    else if ((event.target as Element).closest("input, select, button")) return;
    else if (event.key === " ") this.#toggle();
    else if (event.key === "ArrowRight") this.#go(player.position + STEP_MS);
    else if (event.key === "ArrowLeft") this.#go(player.position - STEP_MS);
    else if (event.key === "+" || event.key === "=") this.#setSpeed(this.#nextSpeed(1));
    else if (event.key === "-") this.#setSpeed(this.#nextSpeed(-1));
    else if (event.key === "/") this.#find.focus();
    else return;
    event.preventDefault();
  }

  #nextSpeed(by: number): number {
    const at = SPEEDS.indexOf(this.#player?.speed ?? 1) + by;
    return SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, at))] ?? 1;
  }
}
