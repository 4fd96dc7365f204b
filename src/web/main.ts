// The page: tabs, what to enter, the menu, and what is remembered.

import { h } from "./dom.ts";
import { FindBar } from "./find-bar.ts";
import { keyRow } from "./key-row.ts";
import { type Item, Menu } from "./menu.ts";
import { change, clampFont, FONT_SIZE, keepToken, settings, type Theme, withRecent } from "./settings.ts";
import { Tab } from "./tab.ts";
import { fromLink, type Target, toLink, toName } from "./target.ts";
import { Welcome } from "./welcome.ts";

const THEMES: Theme[] = ["system", "dark", "light"];
const MENU_KEY = "Ctrl Shift Space";

const tabs: Tab[] = [];
/** The tab that is seen; none while the way in is. */
let active: Tab | undefined;
/** Of whom the way in asks for a token. */
let refused: Tab | undefined;

const welcome = new Welcome((target) => {
  const waiting = refused;
  refused = undefined;
  if (waiting && toLink(waiting.target) === toLink(target)) {
    select(waiting);
    waiting.enter();
  } else {
    if (waiting) close(waiting);
    add(target);
  }
});
const menu = new Menu();
const find = new FindBar();
const strip = h("div", {
  class: "tabs",
  role: "tablist",
  "aria-label": "Sessions",
  onkeydown: (event) => stripKey(event as KeyboardEvent),
});
const statusText = h("span", { class: "text", role: "status" });
const again = h("button", { type: "button", class: "again", hidden: true, onclick: () => active?.enter() });
const following = h("button", { type: "button", class: "follows", hidden: true, onclick: () => follow() });
const menuButton = h(
  "button",
  {
    type: "button",
    "aria-label": "Menu",
    title: `Menu (${MENU_KEY})`,
    "aria-haspopup": "menu",
    onclick: () => openMenu(),
  },
  "⋯",
);
const addButton = h(
  "button",
  { type: "button", class: "add", "aria-label": "New tab", title: "New tab", onclick: () => begin() },
  "+",
);
const screens = h("div", { class: "screens" }, find.element);
const keys = keyRow(() => active?.screen);
const bar = h("header", {}, strip, addButton, h("div", { class: "status" }, statusText, following, again), menuButton);

document.body.append(bar, screens, welcome.element, keys, menu.element);
restyle();
open();

addEventListener("hashchange", open);
addEventListener("offline", () =>
  tabs.forEach((tab) => {
    tab.probe();
  }),
);
addEventListener("online", () =>
  tabs.forEach((tab) => {
    tab.probe();
  }),
);
addEventListener("beforeunload", (event) => {
  // A key that was meant for the shell (Ctrl W) does not end everything at once.
  if (tabs.some((tab) => tab.isOpen && tab.isTyped)) event.preventDefault();
});
matchMedia("(prefers-color-scheme: light)").addEventListener("change", restyle);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && active) attend(active);
});
document.addEventListener("keydown", (event) => {
  // In a terminal the terminal asks.
  if (!(event.target as Element).closest?.(".xterm") && pressed(event)) event.preventDefault();
});
// A phone's keyboard covers the page, where it does not make it smaller.
visualViewport?.addEventListener("resize", () => {
  document.body.style.height = `${visualViewport?.height}px`;
  scrollTo(0, 0);
});

/** What the link in the address names; the way in where it names nothing. */
function open(): void {
  const target = fromLink(location.hash);
  if (!target) return begin();
  const there = tabs.find((tab) => toLink(tab.target) === toLink(target));
  if (there) select(there);
  else add(target);
}

function begin(target?: Target, problem?: string): void {
  active = undefined;
  find.close();
  welcome.show(target, problem);
  show();
}

function add(target: Target): void {
  const tab = new Tab(target, { changed, refused: askWho, pressed });
  tabs.push(tab);
  screens.append(tab.screen.element);
  change({ recent: withRecent(settings.recent, target) });
  // First to be seen, then open: its size is known when the session begins.
  select(tab);
  tab.screen.open();
  tab.screen.focus();
  tab.enter();
}

function select(tab: Tab): void {
  find.close();
  active = tab;
  welcome.hide();
  show();
  tab.screen.fit();
  tab.screen.focus();
  attend(tab);
}

function close(tab: Tab): void {
  const at = tabs.indexOf(tab);
  tabs.splice(at, 1);
  tab.close();
  if (tab !== active) return show();
  const next = tabs[at] ?? tabs[at - 1];
  if (next) select(next);
  else begin();
}

/** The gateway wants to know who it is. */
function askWho(tab: Tab, problem: string): void {
  refused = tab;
  begin(tab.target, problem);
}

function attend(tab: Tab): void {
  tab.calls = false;
  changed(tab);
}

function changed(tab: Tab): void {
  if (tab.calls && tab === active && !document.hidden) tab.calls = false;
  show();
}

/** Draws everything around the terminals anew. */
function show(): void {
  strip.replaceChildren(...tabs.map(tabButton));
  for (const tab of tabs) tab.screen.element.hidden = tab !== active;
  const status = active?.status;
  bar.dataset.kind = status?.kind ?? "none";
  if (statusText.textContent !== (status?.text ?? "")) statusText.textContent = status?.text ?? "";
  again.hidden = status?.again === undefined;
  again.textContent = `${status?.again ?? ""} ⏎`;
  const isFollowing = active?.isFollowing === true && active.isOpen;
  following.hidden = !isFollowing;
  if (isFollowing) following.textContent = active?.screen.isAtBottom ? "following" : "⤓ follow";
  keys.hidden = !active || !(settings.keys ?? matchMedia("(pointer: coarse)").matches);
  const link = active ? toLink(active.target) : "";
  if (active && location.hash !== link) history.replaceState(null, "", link);
  else if (!active && location.hash && !refused) history.replaceState(null, "", location.pathname);
  const name = active ? active.title || toName(active.target) : "";
  document.title = `${tabs.some((tab) => tab.calls) ? "● " : ""}${name ? `${name} — ` : ""}Entry`;
}

function tabButton(tab: Tab): HTMLElement {
  const name = toName(tab.target);
  const isActive = tab === active;
  return h(
    "div",
    {
      class: "tab",
      role: "presentation",
      "data-kind": tab.status.kind,
      "data-calls": tab.calls,
      title: tab.title || name,
    },
    h(
      "button",
      {
        type: "button",
        role: "tab",
        "aria-selected": String(isActive),
        "aria-controls": tab.id,
        "aria-label": `${name}, ${tab.status.text}${tab.calls ? ", calls" : ""}`,
        tabindex: isActive ? "0" : "-1",
        onclick: () => select(tab),
        onauxclick: () => close(tab),
      },
      h("i", {}),
      name,
      tab.target.attach && h("small", {}, "output"),
    ),
    h(
      "button",
      { type: "button", class: "close", tabindex: "-1", "aria-label": `Close ${name}`, onclick: () => close(tab) },
      "×",
    ),
  );
}

function stripKey(event: KeyboardEvent): void {
  const at = active ? tabs.indexOf(active) : -1;
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
  const tab = to === undefined ? undefined : tabs.at(to % tabs.length);
  if (!tab) return;
  event.preventDefault();
  select(tab);
  strip.querySelector<HTMLElement>("[aria-selected=true]")?.focus();
}

/** Keys of the page itself; all others are the shell's. */
function pressed(event: KeyboardEvent): boolean {
  if (!(event.ctrlKey && event.shiftKey) || event.altKey || event.metaKey) return false;
  const digit = /^Digit([1-9])$/.exec(event.code)?.[1];
  if (digit) {
    const tab = tabs[Number(digit) - 1];
    if (tab) select(tab);
  } else if (event.code === "Space") {
    if (menu.isOpen) menu.close();
    else openMenu();
  } else if (event.code === "KeyF" && active) {
    find.open(active.screen);
  } else {
    return false;
  }
  return true;
}

function openMenu(): void {
  const tab = active;
  const isTyped = tab?.isTyped;
  const nextTheme = THEMES[(THEMES.indexOf(settings.theme) + 1) % THEMES.length] ?? "system";
  const hasKeys = settings.keys ?? matchMedia("(pointer: coarse)").matches;
  const onOff = (isOn: boolean) => (isOn ? "on" : "off");
  const ofTab: (Item | undefined)[] = tab
    ? [
        { label: "Find", note: "Ctrl Shift F", run: () => find.open(tab.screen) },
        { label: "Copy", note: "Ctrl Shift C", run: () => void tab.screen.copy() },
        ...(isTyped ? [{ label: "Paste", note: "Ctrl Shift V", run: () => void tab.screen.paste() }] : []),
        { label: "Save what was shown", run: () => save(tab) },
        { label: "Close this tab", run: () => close(tab) },
        undefined,
      ]
    : [];
  menu.open(
    [
      { label: "New tab", run: () => begin() },
      ...tabs.map((other, at) => ({
        label: `Go to ${toName(other.target)}`,
        ...(at < 9 ? { note: `Ctrl Shift ${at + 1}` } : {}),
        run: () => select(other),
      })),
      undefined,
      ...ofTab,
      { label: "Larger", note: `${settings.fontSize} px`, run: () => setFont(settings.fontSize + 1) },
      { label: "Smaller", run: () => setFont(settings.fontSize - 1) },
      { label: "Usual size", run: () => setFont(FONT_SIZE.usual) },
      { label: "Colours", note: settings.theme, run: () => set({ theme: nextTheme }) },
      { label: "Row of keys", note: onOff(hasKeys), run: () => set({ keys: !hasKeys }) },
      {
        label: "Screen reader",
        note: onOff(settings.screenReader),
        run: () => set({ screenReader: !settings.screenReader }),
      },
      {
        label: document.fullscreenElement ? "Leave full screen" : "Full screen, all keys to the shell",
        run: () => void fullScreen(),
      },
      undefined,
      { label: "Forget the token", run: () => keepToken("", false) },
    ],
    () => (active ? active.screen.focus() : undefined),
  );
}

function set(changes: Partial<typeof settings>): void {
  change(changes);
  restyle();
  show();
}

function setFont(size: number): void {
  set({ fontSize: clampFont(size) });
}

function restyle(): void {
  document.documentElement.dataset.theme = settings.theme;
  for (const tab of tabs) tab.screen.restyle();
}

function follow(): void {
  active?.screen.terminal.scrollToBottom();
  show();
}

function save(tab: Tab): void {
  const url = URL.createObjectURL(new Blob([tab.screen.text()], { type: "text/plain" }));
  h("a", { href: url, download: `${toName(tab.target).replaceAll("/", "-")}.txt` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** In full screen some browsers give a page also the keys that they would keep. */
async function fullScreen(): Promise<void> {
  if (document.fullscreenElement) return document.exitFullscreen();
  await document.documentElement.requestFullscreen().catch(() => {});
  const { keyboard } = navigator as Navigator & { keyboard?: { lock(): Promise<void> } };
  await keyboard?.lock().catch(() => {});
}
