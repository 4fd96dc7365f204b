// The page in a real Chromium, against the gateway and containers of a real engine.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { browser, container, docker, eventually, Gateway, PATIENCE_MS, Person, tidy } from "./harness.ts";

const TOKEN = "a-token-of-this-test";
let open: Gateway;
let box: string;

before(async () => {
  box = container("box");
  open = await new Gateway("--allow-container", "*", "--watch", "told").start();
});

after(async () => {
  await open.kill();
  await tidy();
});

/** A person in a container of the gateway that asks nobody who he is, at a prompt. */
async function enter(name = box, options = {}, settings?: object): Promise<Person> {
  const person = await Person.arrive(open.url(`#/${name}`), options, settings);
  if (settings === undefined) await person.prompt();
  else await person.status("connected");
  return person;
}

test("somebody signs in with a token, which stands in no link and in no storage that lasts", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "entry-page-")), "tokens.toml");
  const hash = createHash("sha256").update(TOKEN).digest("hex");
  writeFileSync(
    file,
    `[[token]]\nuser = "ada"\nsha256 = "${hash}"\nenter = ["container:*"]\nattach = ["container:*"]\n`,
  );
  const gateway = await new Gateway("--allow-container", "*", "--access", `tokens=${file}`).start();
  const person = await Person.arrive(gateway.url());
  await person.shot("welcome");
  // By the keyboard alone.
  await person.page.getByRole("button", { name: "Container by name" }).focus();
  await person.press("Enter");
  await person.type(box);
  await person.press("Tab");
  await person.type("wrong");
  await person.press("Enter");
  const problem = person.page.getByRole("alert");
  await eventually("the refusal", async () => (await problem.textContent())?.includes("Authorization failed"));
  await person.shot("refused");
  assert.equal(
    await person.page.getByLabel("Access token").evaluate((element) => element === document.activeElement),
    true,
  );
  await person.press("Control+a");
  await person.type(TOKEN);
  await person.press("Enter");
  await person.prompt();
  assert.equal(new URL(person.page.url()).hash, `#/${box}`);
  const stored = await person.page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]));
  assert.ok(!stored.includes(TOKEN) && !stored.includes("wrong"), stored);

  // Kept on purpose, it outlasts a reload and nothing else.
  await person.page.getByRole("button", { name: "New tab" }).click();
  await person.page.getByRole("button", { name: "Container by name" }).click();
  await person.page.getByLabel("Container", { exact: true }).fill(box);
  await person.page.getByLabel("Keep it").check();
  await person.page.getByRole("button", { name: "Follow its output" }).click();
  await person.status("connected");
  person.page.on("dialog", (dialog) => void dialog.accept());
  await person.page.goto(gateway.url(`#/${box}`));
  await person.page.reload();
  await person.prompt();
  await person.leave();
  await gateway.kill();
});

test("what is typed is answered, and the window is as big as the shell thinks, whenever it changes", async () => {
  const person = await enter();
  await person.type("echo $((6*7)) $TERM; stty size\n");
  await person.sees(/^42 xterm-256color$/);
  const size = () => person.page.locator(".screen").getAttribute("data-size");
  await person.sees(new RegExp(`^${await size()}$`));
  const before = await size();
  await person.page.setViewportSize({ width: 640, height: 400 });
  await eventually("the page to follow", async () => (await size()) !== before);
  await person.type("clear; stty size\n");
  await person.sees(new RegExp(`^${await size()}$`));
  await person.choose("Larger");
  await person.type("clear; stty size\n");
  await eventually("the size with larger letters", async () => (await person.rows()).includes((await size()) ?? "?"));
  // A program that asks for the mouse, as vim and htop do, is told of it.
  const modes = (how: string) => `printf '\\033[?1000${how}\\033[?1006${how}'`;
  await person.type(`clear; ${modes("h")}; IFS= read -rsd M at; ${modes("l")}; echo "mouse \${at#??}"\n`);
  await person.page.locator(".xterm.enable-mouse-events").waitFor();
  await person.page.mouse.click(200, 150);
  await person.sees(/^mouse <0;\d+;\d+$/);
  await person.leave();
});

test("vim fills the window, and goes with it", async () => {
  const person = await enter();
  await person.type("seq 1 500 >/tmp/numbers; vim /tmp/numbers\n");
  const fills = async () => {
    const rows = await person.rows();
    const expected = rows.slice(0, -1).map((_, at) => String(at + 1));
    return rows.length > 5 && rows.slice(0, -1).every((row, at) => row.trim() === expected[at]) && rows;
  };
  const first = await eventually("vim to fill the window", fills);
  await person.page.setViewportSize({ width: 700, height: 380 });
  const second = await eventually("vim to fill it again", async () => {
    const rows = await fills();
    return rows && rows.length < first.length && rows;
  });
  assert.ok(second.length > 5);
  await person.shot("vim");
  await person.type(":q\n");
  await person.prompt();
  await person.leave();
});

test("Chinese by an input method, and emoji", async () => {
  const person = await enter();
  const method = await person.page.context().newCDPSession(person.page);
  await person.type("echo '");
  const compose = async (keys: string, text: string) => {
    await method.send("Input.imeSetComposition", {
      text: keys,
      selectionStart: keys.length,
      selectionEnd: keys.length,
    });
    await method.send("Input.insertText", { text });
  };
  await compose("zhongwen", "中文");
  // What is composed goes out a moment later, and must not be composed anew before.
  await person.sees("中文");
  await compose(":smile", "😀é");
  await person.type("' | tee /tmp/typed\n");
  await person.sees(/^中文 *😀é$/);
  assert.equal(docker("exec", box, "cat", "/tmp/typed"), "中文😀é");
  // Wide letters take two columns each, and so the cursor stands where the shell thinks.
  await person.type("clear; printf '\\u4e2d\\u6587\\U1f600\\033[6n'; IFS=';' read -rsd R _ at; echo \" $at\"\n");
  await person.sees(/ 7$/);
  await person.leave();
});

test("50 MB of output leave the page to its person", async () => {
  // Nobody reads the screen now: what is written there shows in the title.
  const person = await enter(box, {}, {});
  // Lines as long as the window is wide: a terminal takes its time for each line, however short, and not for each byte.
  await person.type("yes $(printf %078d 7) | head -c 50000000; printf '\\033]2;%s\\007' all-there\n");
  const floods = () => person.page.evaluate(() => !document.title.includes("all-there"));
  let answered = 0;
  for (const end = Date.now() + 4 * PATIENCE_MS; (await floods()) && Date.now() < end; answered += 1) {
    await person.press("Control+Shift+Space");
    await person.page.getByRole("menu").waitFor();
    await person.press("Escape");
  }
  await eventually("the end of it", async () => !(await floods()));
  assert.ok(answered >= 3, `the menu came ${answered} times`);
  await person.status("connected");
  await person.leave();
});

test("Ctrl-C ends yes at once", async () => {
  const person = await enter(box, {}, {});
  await person.type("sh -c 'printf \"\\033]2;saying-yes\\007\"; exec yes'\n");
  await eventually("yes", async () => (await person.page.title()).startsWith("saying-yes"));
  await person.press("Control+c");
  await person.type("printf '\\033]2;%s\\007' at-the-prompt\n");
  await eventually("the prompt", async () => (await person.page.title()).startsWith("at-the-prompt"));
  await person.leave();
});

test("a megabyte is pasted whole, in brackets where the shell wants them", async () => {
  const person = await enter(box, {}, {});
  const text = Array.from({ length: 1 << 15 }, (_, line) => `line ${line} of a text é`.padEnd(31, ".")).join("\n");
  const expected = createHash("md5")
    .update(`\x1b[200~${text.replaceAll("\n", "\r")}\x1b[201~`)
    .digest("hex");
  const length = Buffer.byteLength(text) + 12;
  assert.ok(length > 1 << 20);
  await person.type(
    `stty raw -echo; printf '\\033[?2004h\\033]2;ready\\007'; head -c ${length} | md5sum >/tmp/pasted; `,
  );
  await person.type("stty sane; printf '\\033[?2004l\\033]2;pasted\\007'\n");
  await eventually("the shell to be ready", async () => (await person.page.title()).startsWith("ready"));
  await person.page.evaluate((text) => navigator.clipboard.writeText(text), text);
  await person.choose("Paste");
  await eventually("all of it", async () => (await person.page.title()).startsWith("pasted"));
  assert.equal(docker("exec", box, "cat", "/tmp/pasted").slice(0, 32), expected);
  await person.leave();
});

test("a selection is copied, a program may copy too, and what is in the clipboard it never learns", async () => {
  const person = await enter();
  await person.type("clear; echo selected-text\n");
  await person.sees(/^selected-text$/);
  await person.press("Control+Shift+KeyF");
  await person.type("selected-text");
  await person.page.locator(".find .count", { hasText: "of" }).waitFor();
  await person.press("Escape", "Control+Shift+KeyC");
  const clipboard = () => person.page.evaluate(() => navigator.clipboard.readText());
  await eventually("the clipboard", async () => (await clipboard()) === "selected-text");
  await person.type("printf '\\033]52;c;ZnJvbSBhIHByb2dyYW0=\\007'\n");
  await eventually("the program's text", async () => (await clipboard()) === "from a program");
  await person.type("clear; printf '\\033]52;c;?\\007'; read -rst 1 said; echo \"said: $said.\"\n");
  await person.sees(/^said: \.$/);
  await person.leave();
});

test("a shell that ends says how, and Enter begins anew", async () => {
  const person = await enter();
  await person.type("echo the first; exit 3\n");
  await person.status("ended, exit status 3");
  await person.sees("Exit status 3.");
  await person.shot("ended");
  await person.press("Enter");
  await person.status("connected");
  await person.type("echo the second\n");
  await person.sees(/^the second$/);
  assert.ok(
    (await person.rows()).some((row) => row === "the first"),
    "what was there stays",
  );
  await person.leave();
});

test("a gateway that is gone is told at once, and when it is back Enter enters", async () => {
  const gateway = await new Gateway("--allow-container", "*").start();
  const person = await Person.arrive(gateway.url(`#/${box}`));
  await person.prompt();
  await gateway.kill();
  await person.status("lost");
  await person.sees("The connection is lost");
  await person.shot("lost");
  await person.press("Enter");
  await person.sees("The gateway cannot be reached.");
  await gateway.start();
  await person.press("Enter");
  await person.status("connected");
  await person.leave();
  await gateway.kill();
});

test("a container that is replaced is told so, and the new one is offered", async () => {
  const labels = { project: "kiosk", service: "till", "container-number": "1" };
  const old = container("old", [], labels);
  const person = await Person.arrive(open.url("#/kiosk/till"));
  await person.prompt();
  docker("rm", "-f", old);
  await person.status(/container (removed|stopped)/);
  container("new", [], labels);
  await person.status("replaced");
  await person.shot("replaced");
  await person.press("Enter");
  await person.status("connected");
  await person.type("hostname\n");
  await person.sees(/^new$/);
  await person.leave();
});

test("a page from elsewhere gets no session", async () => {
  const other = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>other</title>"));
  await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${(other.address() as AddressInfo).port}/`);
  const tried = (address: string) =>
    page.evaluate(
      (url) =>
        new Promise((done) => {
          const socket = new WebSocket(url, "entry.v1");
          socket.onopen = () => done("open");
          socket.onerror = () => done("refused");
        }),
      `ws://${address}/enter`,
    );
  assert.equal(await tried(open.address), "refused");
  // It is the origin that is refused, and nothing else.
  const origin = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  const friendly = await new Gateway("--allow-container", "*", "--allow-origin", origin).start();
  assert.equal(await tried(friendly.address), "open");
  await friendly.kill();
  await context.close();
  other.close();
});

test("what a container writes is followed, found and saved", async () => {
  const loud = container("loud", ["sh", "-c", "seq 1 300; while sleep 0.2; do echo tick; done"]);
  const person = await Person.arrive(open.url(`#/${loud}?attach`));
  await person.status("connected");
  await person.sees(/^tick$/);
  await person.page.getByRole("button", { name: "following" }).waitFor();
  await person.press("Control+Shift+KeyF");
  await person.type("123");
  await person.page.locator(".find .count", { hasText: "1 of 1" }).waitFor();
  await person.sees(/^123$/);
  await person.shot("found");
  await person.press("Escape");
  await person.page.getByRole("button", { name: "⤓ follow" }).click();
  await person.page.getByRole("button", { name: "following" }).waitFor();
  const [saved] = await Promise.all([person.page.waitForEvent("download"), person.choose("Save what was shown")]);
  const lines = readFileSync(await saved.path(), "utf8").split("\n");
  assert.deepEqual(
    lines.slice(0, 300),
    Array.from({ length: 300 }, (_, at) => String(at + 1)),
  );
  await person.leave();
});

test("a session is watched, read only, at its own size, until it ends", async () => {
  const owner = await enter();
  await owner.type("clear; echo $ENTRY_SESSION\n");
  const rows = await owner.sees(/^[0-9a-f]{16}:[0-9a-f]{16}$/);
  const session = rows.find((row) => /^[0-9a-f:]{33}$/.test(row)) ?? "";
  const watcher = await Person.arrive(open.url());
  await watcher.page.getByRole("button", { name: "Watch a session" }).press("Enter");
  await watcher.type(session);
  await watcher.press("Enter");
  await watcher.status(`watching anonymous in container:${box}`);
  await watcher.sees(session);
  await owner.sees("anonymous watches this session.");
  assert.equal(new URL(watcher.page.url()).hash, `#/?watch=${session}`);
  const size = (person: Person) => person.page.locator(".screen").getAttribute("data-size");
  assert.equal(await size(watcher), await size(owner));
  await watcher.type("echo typed in vain\n");
  await owner.page.setViewportSize({ width: 1200, height: 700 });
  await eventually("the new size", async () => (await size(watcher)) === (await size(owner)));
  await owner.type("echo seen by both\n");
  await watcher.sees(/^seen by both$/);
  await watcher.shot("watched");
  assert.ok(!(await owner.rows()).some((row) => row.includes("in vain")), "nothing that a watcher types arrives");
  await owner.type("exit 3\n");
  await owner.status("ended, exit status 3");
  await watcher.status("the session has ended");
  await watcher.leave();
  await owner.leave();
});

test("what may be entered is listed, found by typing and entered, by the keyboard alone", async () => {
  container("booth", [], { project: "fair", service: "booth", "container-number": "1" });
  const person = await Person.arrive(open.url());
  const list = person.page.getByRole("region", { name: "What you may enter" });
  const booth = list.getByRole("link", { name: "fair/booth/1" });
  // A list may be some seconds old: a page that was opened just before has had one without it.
  await eventually("the list to have it", async () => {
    if ((await booth.count()) > 0) return true;
    await person.page.reload();
    await booth.waitFor({ timeout: 2_000 }).catch(() => undefined);
    return (await booth.count()) > 0;
  });
  await list.getByRole("link", { name: box }).waitFor();
  await person.shot("listed");
  await list.getByRole("searchbox").focus();
  await person.type("boo fair");
  await eventually("the one row", async () => (await list.getByRole("listitem").count()) === 1);
  await person.press("ArrowDown", "Enter");
  await person.prompt();
  assert.equal(new URL(person.page.url()).hash, "#/fair/booth/1");
  await person.leave();
});

test("tabs, by the keyboard alone", async () => {
  const person = await enter();
  await person.type("clear; echo in the first\n");
  await person.sees(/^in the first$/);
  const second = container("second");
  await person.choose("New tab");
  await person.page.getByRole("button", { name: "Container by name" }).press("Enter");
  await person.type(`${second}\n`);
  await person.prompt();
  await person.type("clear; echo in the second\n");
  await person.sees(/^in the second$/);
  assert.equal(await person.page.getByRole("tab").count(), 2);
  await person.press("Control+Shift+Digit1");
  await person.sees(/^in the first$/);
  // A bell of who is not seen shows.
  docker("exec", second, "sh", "-c", "printf '\\a' >/dev/pts/0");
  await person.page.locator(".tab[data-calls]").waitFor();
  assert.match(await person.page.title(), /^●/);
  await person.press("Control+Shift+Digit2");
  await person.page.locator(".tab[data-calls]").waitFor({ state: "detached" });
  await person.shot("tabs");
  await person.choose("Close this tab");
  await person.sees(/^in the first$/);
  await person.leave();
});

test("size and colours are remembered", async () => {
  const person = await enter();
  await person.choose("Colours");
  await person.choose("Colours");
  await person.choose("Smaller");
  assert.equal(await person.page.evaluate(() => document.documentElement.dataset.theme), "light");
  await person.type("clear; ls --color=always -l /bin | head -12\n");
  await person.sees(/busybox/);
  await person.shot("light");
  person.page.on("dialog", (dialog) => void dialog.accept());
  await person.page.reload();
  await person.prompt();
  const stored = await person.page.evaluate(() => JSON.parse(localStorage.getItem("entry") ?? "{}"));
  assert.deepEqual([stored.theme, stored.fontSize], ["light", 13]);
  assert.equal(await person.page.evaluate(() => document.documentElement.dataset.theme), "light");
  await person.leave();
});

test("a phone has the keys that it lacks", async () => {
  const phone = { viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
  const person = await enter(box, phone);
  const key = (name: string) => person.page.getByRole("toolbar").getByRole("button", { name, exact: true });
  await person.type("clear; echo typed once\n");
  await person.sees(/^typed once$/);
  await key("Up").tap();
  await person.press("Enter");
  await eventually(
    "the line from history",
    async () => (await person.rows()).filter((row) => row === "typed once").length === 1,
  );
  await person.type("clear; cat; echo ended by $?\n");
  await key("Control, for the next key").tap();
  assert.equal(await key("Control, for the next key").getAttribute("aria-pressed"), "true");
  await person.type("d");
  await person.sees(/^ended by 0$/);
  assert.equal(await key("Control, for the next key").getAttribute("aria-pressed"), "false");
  const width = await person.page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `nothing stands out: ${width}`);
  await person.shot("phone");
  await person.leave();
});

test("it is drawn by the graphics card as long as that lasts, and goes on without", async () => {
  const person = await enter();
  const renderer = () => person.page.locator(".screen").getAttribute("data-renderer");
  assert.equal(await renderer(), "dom", "here is no graphics card");
  await person.page.addInitScript(() => {
    // As if there were one: what draws does not say that it is none.
    const { getParameter } = WebGL2RenderingContext.prototype;
    const UNMASKED_RENDERER = 37446;
    WebGL2RenderingContext.prototype.getParameter = function (name: number) {
      return name === UNMASKED_RENDERER ? "a card" : getParameter.call(this, name);
    };
  });
  person.page.on("dialog", (dialog) => void dialog.accept());
  await person.page.reload();
  await person.prompt();
  assert.equal(await renderer(), "webgl");
  await person.type("clear; echo drawn\n");
  await person.sees(/^drawn$/);
  await person.page.evaluate(() => {
    for (const canvas of document.querySelectorAll<HTMLCanvasElement>(".screen canvas")) {
      canvas.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
    }
  });
  await eventually("the other way to draw", async () => (await renderer()) === "dom");
  await person.type("echo and still drawn\n");
  await person.sees(/^and still drawn$/);
  await person.leave();
});

test("a recording is shown: played, stopped, turned, set and searched, by the keyboard alone", async () => {
  const folder = mkdtempSync(join(tmpdir(), "entry-page-"));
  const gateway = await new Gateway("--allow-container", "*", "--record", folder).start();
  const owner = await Person.arrive(gateway.url(`#/${box}`));
  await owner.prompt();
  await owner.sees("This session is recorded.");
  await owner.type("echo $((6*7))first; sleep 2; echo $((6*7))second; exit\n");
  await owner.status("ended");
  await owner.leave();
  const file = await eventually("the recording", async () => {
    const [name] = readdirSync(folder);
    const path = name && join(folder, name);
    return path && readFileSync(path, "utf8").includes("exited with status 0") && path;
  });
  await gateway.kill();

  const person = await Person.arrive(open.url());
  const { page } = person;
  const choosing = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Open a recording" }).press("Enter");
  await (await choosing).setFiles(file);
  const recording = page.getByRole("region", { name: `anonymous in container:${box}` });
  await recording.waitFor();
  await person.sees("42first");
  await person.press("Space");
  await recording.getByRole("button", { name: "Play" }).waitFor();
  const position = recording.getByRole("slider", { name: "Position" });
  const before = Number(await position.inputValue());
  assert.ok(!(await person.rows()).some((row) => row.includes("42second")));
  // Find goes there.
  await person.press("/");
  await person.type("42second");
  await person.press("Enter");
  await person.sees("42second");
  await recording.getByRole("status").filter({ hasText: "1 of 1" }).waitFor();
  assert.ok(Number(await position.inputValue()) > before);
  await person.shot("replay");
  // Back to the beginning, and fast to the end.
  await position.focus();
  await person.press("Home");
  await eventually("the beginning", async () => !(await person.rows()).some((row) => row.includes("42")));
  await recording.focus();
  await person.press("+", "+", "+", "Space");
  await recording.getByRole("status").filter({ hasText: "exited with status 0" }).waitFor();
  assert.equal(await recording.getByRole("combobox", { name: "Speed" }).inputValue(), "8");
  await person.press("Escape");
  await recording.waitFor({ state: "hidden" });
  // What is none is told where.
  const again = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Open a recording" }).click();
  await (await again).setFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("hello\n") });
  await page.getByRole("alert").filter({ hasText: "notes.txt, line 1: this is no asciicast." }).waitFor();
  await person.leave();
});
