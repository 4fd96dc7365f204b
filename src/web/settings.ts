// What the page remembers of how somebody likes it. Never a token: that stays in memory, or where its owner asks for it in
// the browser tab's own storage, which no other tab sees and which goes with the tab.

import { fromLink, type Target, toLink } from "./target.ts";

export type Theme = "system" | "dark" | "light";

export interface Settings {
  theme: Theme;
  fontSize: number;
  screenReader: boolean;
  /** The row of keys that phones lack; by default where a finger points. */
  keys: boolean | undefined;
  /** Links of what was entered last, newest first. */
  recent: string[];
}

export const FONT_SIZE = { least: 8, usual: 14, most: 32 } as const;
const RECENT_MAX = 8;
const PLACE = "entry";
const TOKEN_PLACE = "entry-token";

/** What was remembered, as far as it makes sense. */
export function read(stored: string | null): Settings {
  let said: Partial<Record<keyof Settings, unknown>> = {};
  try {
    const value: unknown = JSON.parse(stored ?? "{}");
    if (typeof value === "object" && value !== null) said = value;
  } catch {
    // Somebody else's, or broken: as if nothing were there.
  }
  const { theme, fontSize, screenReader, keys, recent } = said;
  return {
    theme: theme === "dark" || theme === "light" ? theme : "system",
    fontSize: clampFont(typeof fontSize === "number" ? fontSize : FONT_SIZE.usual),
    screenReader: screenReader === true,
    keys: typeof keys === "boolean" ? keys : undefined,
    recent: Array.isArray(recent)
      ? recent.filter((link) => typeof link === "string" && fromLink(link)).slice(0, RECENT_MAX)
      : [],
  };
}

export function clampFont(size: number): number {
  return Math.min(FONT_SIZE.most, Math.max(FONT_SIZE.least, Math.round(size) || FONT_SIZE.usual));
}

/** The list with this target in front. */
export function withRecent(recent: string[], target: Target): string[] {
  const link = toLink(target);
  return [link, ...recent.filter((other) => other !== link)].slice(0, RECENT_MAX);
}

// A browser may forbid storage: then nothing is remembered.
function quietly<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

export const settings: Settings = read(quietly(() => localStorage.getItem(PLACE)) ?? null);

export function change(changes: Partial<Settings>): void {
  Object.assign(settings, changes);
  quietly(() => localStorage.setItem(PLACE, JSON.stringify(settings)));
}

let token = quietly(() => sessionStorage.getItem(TOKEN_PLACE)) ?? "";

export function currentToken(): string {
  return token;
}

export function keepToken(value: string, untilTabCloses: boolean): void {
  token = value;
  quietly(() => {
    if (value && untilTabCloses) sessionStorage.setItem(TOKEN_PLACE, value);
    else sessionStorage.removeItem(TOKEN_PLACE);
  });
}

export function isTokenKept(): boolean {
  return quietly(() => sessionStorage.getItem(TOKEN_PLACE)) != null;
}
