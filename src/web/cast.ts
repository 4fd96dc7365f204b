// Recordings: asciicasts of version 2 and 3, read as `entry play` reads them; and a clock that shows them. Pure.

/** What is read at most: the page holds all of it. */
export const CAST_BYTES_MAX = 256 * 1024 * 1024;

export interface CastEvent {
  /** When, in milliseconds from the beginning. */
  at: number;
  kind: "output" | "size" | "marker" | "exit";
  text: string;
}

export interface Cast {
  columns: number;
  rows: number;
  title: string;
  events: CastEvent[];
  /** How long it lasts, in milliseconds. */
  length: number;
  /** Its last line is not whole: what was to come after it was never written. */
  isCut: boolean;
}

/** What is wrong with a file, in words for a person. */
export class CastError extends Error {}

const KINDS: Record<string, CastEvent["kind"]> = { o: "output", r: "size", m: "marker", x: "exit" };
const isSide = (side: unknown): side is number => Number.isInteger(side) && Number(side) > 0 && Number(side) <= 65_535;
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

export function readCast(text: string): Cast {
  const lines = text.split("\n");
  const header = read(lines[0] ?? "");
  if (!isObject(header) || Array.isArray(header)) throw new CastError("line 1: this is no asciicast");
  const { version, title } = header;
  if (version !== 2 && version !== 3) {
    throw new CastError(`line 1: an asciicast of version ${version}; versions 2 and 3 can be shown`);
  }
  const term = isObject(header.term) ? header.term : {};
  const [columns, rows] = version === 2 ? [header.width, header.height] : [term.cols, term.rows];
  if (!isSide(columns) || !isSide(rows)) throw new CastError("line 1: the window's size is missing");
  const cast: Cast = {
    columns,
    rows,
    title: typeof title === "string" ? title : "",
    events: [],
    length: 0,
    isCut: false,
  };
  for (let at = 1; at < lines.length; at += 1) {
    const line = lines[at]?.trim() ?? "";
    if (line === "" || line.startsWith("#")) continue;
    const event = read(line);
    const [seconds, code, said] = Array.isArray(event) ? event : [];
    if (typeof seconds !== "number" || typeof code !== "string" || typeof said !== "string") {
      // The last line has no end.
      if (at === lines.length - 1) {
        cast.isCut = true;
        break;
      }
      throw new CastError(`line ${at + 1}: an event is [seconds, "code", "text"], and this is none`);
    }
    const time = seconds * 1000 + (version === 3 ? cast.length : 0);
    if (!(seconds >= 0) || !Number.isFinite(time)) throw new CastError(`line ${at + 1}: ${seconds} is no time`);
    // An editor may have put them into another order; they are shown in the file's.
    cast.length = Math.max(cast.length, time);
    const kind = KINDS[code];
    if (kind) cast.events.push({ at: cast.length, kind, text: said });
  }
  return cast;
}

function read(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Columns and rows of a size event. */
export function sizeOf(text: string): [number, number] | undefined {
  const [columns, rows] = text.split("x").map(Number);
  return isSide(columns) && isSide(rows) ? [columns, rows] : undefined;
}

/** `1:05`, `1:00:05`. */
export function clock(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const two = (part: number) => String(part).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** When this text was shown, each time that it was; letters' case does not count, nor colours between them. */
export function findInCast(cast: Cast, text: string): number[] {
  const times: number[] = [];
  if (text === "") return times;
  const places: { from: number; at: number }[] = [];
  let shown = "";
  for (const event of cast.events) {
    if (event.kind !== "output") continue;
    places.push({ from: shown.length, at: event.at });
    shown += event.text;
  }
  // Escape sequences of one event end within it, nearly always; what is left of one does no harm.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they begin with one
  const sequences = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])/g;
  const letters: number[] = [];
  let plain = "";
  let from = 0;
  const take = (to: number) => {
    for (let at = from; at < to; at += 1) letters.push(at);
    plain += shown.slice(from, to);
  };
  for (const { 0: sequence, index } of shown.matchAll(sequences)) {
    take(index);
    from = index + sequence.length;
  }
  take(shown.length);
  const folded = plain.toLowerCase();
  const searched = folded.length === plain.length ? folded : plain;
  const wanted = text.toLowerCase();
  let place = 0;
  for (let at = searched.indexOf(wanted); at >= 0; at = searched.indexOf(wanted, at + wanted.length)) {
    const end = letters[at + wanted.length - 1] ?? 0;
    while ((places[place + 1]?.from ?? Number.POSITIVE_INFINITY) <= end) place += 1;
    const time = places[place]?.at ?? 0;
    if (times.at(-1) !== time) times.push(time);
  }
  return times;
}

/** Where a recording is shown. */
export interface Stage {
  write(text: string): void;
  resize(columns: number, rows: number): void;
  /** As it was before anything was written. */
  reset(columns: number, rows: number): void;
}

/** Longer pauses are passed over, where somebody wants that. */
export const PAUSE_MS = 2_000;

/** A recording's clock: it can be stopped, turned and set. Whoever has it says how much time passes. */
export class Player {
  readonly cast: Cast;
  readonly #stage: Stage;
  #next = 0;
  /** How far it is shown, in milliseconds. */
  position = 0;
  isPlaying = false;
  speed = 1;
  skipsPauses = false;
  /** The last word on it: a marker, or how it ended. */
  word = "";

  constructor(cast: Cast, stage: Stage) {
    this.cast = cast;
    this.#stage = stage;
    stage.reset(cast.columns, cast.rows);
  }

  get isOver(): boolean {
    return this.position >= this.cast.length;
  }

  toggle(): void {
    if (!this.isPlaying && this.isOver) this.seek(0);
    this.isPlaying = !this.isPlaying;
  }

  /** So many milliseconds of the watcher's have passed. */
  pass(ms: number): void {
    if (!this.isPlaying) return;
    const next = this.cast.events[this.#next];
    const pause = next ? next.at - this.position : 0;
    if (this.skipsPauses && next && pause > PAUSE_MS) this.position = next.at - PAUSE_MS;
    this.#show(this.position + ms * this.speed);
    if (this.isOver) this.isPlaying = false;
  }

  /** Shows all up to there at once. What lies before it is shown anew, since a terminal is what it was told. */
  seek(ms: number): void {
    if (ms < this.position) {
      this.#next = 0;
      this.word = "";
      this.#stage.reset(this.cast.columns, this.cast.rows);
    }
    this.#show(Math.max(0, ms));
  }

  #show(to: number): void {
    this.position = Math.min(to, this.cast.length);
    let text = "";
    for (let event = this.cast.events[this.#next]; event && event.at <= this.position; ) {
      if (event.kind === "output") text += event.text;
      else if (event.kind === "size") {
        const size = sizeOf(event.text);
        // In its turn.
        if (size) {
          this.#stage.write(text);
          text = "";
          this.#stage.resize(...size);
        }
      } else this.word = event.kind === "exit" ? `exited with status ${event.text}` : event.text;
      this.#next += 1;
      event = this.cast.events[this.#next];
    }
    if (text) this.#stage.write(text);
  }
}
