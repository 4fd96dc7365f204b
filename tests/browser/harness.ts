// What the browser's tests run on: the gateway's program, containers of a real engine, and a Chromium.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { type BrowserContextOptions, chromium, type Page, type Route } from "playwright-core";

/** Everything that is waited for comes within this, or never. */
export const PATIENCE_MS = 30_000;
const { ENTRY_BIN = "target/debug/entry", ENTRY_SHOTS = "target/browser", ENTRY_PAGE } = process.env;
const PREFIX = `page-${process.pid}`;

export const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    ...(ENTRY_PAGE ? ["--disable-features=LocalNetworkAccessChecks"] : []),
  ],
});
mkdirSync(ENTRY_SHOTS, { recursive: true });

/** Tries until it is so. */
export async function eventually<T>(what: string, look: () => Promise<T | undefined | false>): Promise<T> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; ) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    await new Promise((done) => setTimeout(done, 30));
  }
  assert.fail(`waited in vain for ${what}`);
}

export class Gateway {
  #process: ChildProcess | undefined;
  address = "127.0.0.1:0";
  readonly #options: string[];

  constructor(...options: string[]) {
    this.#options = options;
  }

  async start(): Promise<this> {
    const child = spawn(ENTRY_BIN, ["serve", "--listen", this.address, ...this.#options], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#process = child;
    let said = "";
    child.stderr.on("data", (data) => {
      said += data;
    });
    this.address = await eventually("the gateway", async () => /listening on (\S+)/.exec(said)?.[1]);
    return this;
  }

  /** At once, without a word to anybody. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await gone;
  }

  url(fragment = ""): string {
    return `http://${this.address}/${fragment}`;
  }
}

export function docker(...words: string[]): string {
  return execFileSync("docker", words, { encoding: "utf8" }).trim();
}

const containers: string[] = [];

/** A container that is called so for this run; gives its name. */
export function container(name: string, command: string[] = [], labels: Record<string, string> = {}): string {
  const whole = `${PREFIX}-${name}`;
  const marks = Object.entries(labels).flatMap(([label, value]) => ["--label", `com.docker.compose.${label}=${value}`]);
  docker(
    "run",
    "-d",
    "--init",
    "--network",
    "none",
    "--name",
    whole,
    "--hostname",
    name,
    ...marks,
    "entry-bash",
    ...command,
  );
  containers.push(whole);
  return whole;
}

export async function tidy(): Promise<void> {
  await browser.close();
  if (containers.length > 0) docker("rm", "-f", ...containers);
}

/** A file of the page as `build.mjs` has written it: for work on the page, which then needs no new program. */
async function answerFrom(folder: string, route: Route): Promise<void> {
  const name = new URL(route.request().url()).pathname.replace("/assets/", "");
  if (name === "/") return route.fulfill({ path: `${folder}/index.html`, contentType: "text/html" });
  const types: Record<string, string> = { js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
  const contentType = types[name.split(".").at(-1) ?? ""] ?? "";
  return route.fulfill({ body: gunzipSync(readFileSync(`${folder}/${name}.gz`)), contentType });
}

/** A person at a page. What is drawn is read as a screen reader does, whatever it is drawn with. */
export class Person {
  readonly page: Page;
  readonly #complaints: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("pageerror", (error) => this.#complaints.push(error.message));
    page.on("console", (message) => {
      // A refused WebSocket and a gateway that is away are what some tests are about.
      const isExpected = /WebSocket connection|ERR_CONNECTION_REFUSED|GL Driver/.test(message.text());
      if (message.type() === "error" && !isExpected) this.#complaints.push(message.text());
    });
  }

  static async arrive(
    url: string,
    options: BrowserContextOptions = {},
    settings: object = { screenReader: true },
  ): Promise<Person> {
    const context = await browser.newContext({
      viewport: { width: 960, height: 560 },
      colorScheme: "dark",
      ...options,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await context.addInitScript(
      (stored) => localStorage.setItem("entry", localStorage.getItem("entry") ?? stored),
      JSON.stringify(settings),
    );
    if (ENTRY_PAGE) await context.route(/:\d+\/($|assets\/)/, (route) => answerFrom(ENTRY_PAGE, route));
    const person = new Person(await context.newPage());
    await person.page.goto(url);
    return person;
  }

  /** The rows of the terminal that is seen. */
  async rows(): Promise<string[]> {
    const rows = await this.page.locator(".screen:not([hidden]) .xterm-accessibility-tree > div").allTextContents();
    return rows.map((row) => row.replaceAll("\u00a0", " ").trimEnd());
  }

  async sees(text: string | RegExp): Promise<string[]> {
    const isThere = (row: string) => (typeof text === "string" ? row.includes(text) : text.test(row));
    let rows: string[] = [];
    return eventually(String(text), async () => {
      rows = await this.rows();
      return rows.some(isThere) && rows;
    }).catch((error: Error) => assert.fail(`${error.message}; there is:\n${rows.join("\n")}`));
  }

  async status(text: string | RegExp): Promise<void> {
    await this.page.locator(".status .text", { hasText: text }).waitFor();
  }

  async type(text: string): Promise<void> {
    await this.page.keyboard.type(text);
  }

  async press(...keys: string[]): Promise<void> {
    for (const key of keys) await this.page.keyboard.press(key);
  }

  /** Chooses from the menu, by the keyboard alone. */
  async choose(label: string): Promise<void> {
    await this.press("Control+Shift+Space");
    const item = this.page.getByRole("menuitem", { name: label });
    await item.waitFor();
    for (let steps = 0; !(await item.evaluate((element) => element === document.activeElement)); steps += 1) {
      assert.ok(steps < 40, `${label} is not reached`);
      await this.press("ArrowDown");
    }
    await this.press("Enter");
  }

  async prompt(): Promise<void> {
    await this.status("connected");
    await this.sees(/[#$] ?$/);
  }

  async shot(name: string): Promise<void> {
    await this.page.screenshot({ path: `${ENTRY_SHOTS}/${name}.png` });
  }

  /** Leaves; nothing was wrong with the page meanwhile. */
  async leave(): Promise<void> {
    assert.deepEqual(this.#complaints, []);
    await this.page.context().close();
  }
}
