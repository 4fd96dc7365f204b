// What is entered, and the link that names it: /#/app/proc, /#/app/proc/instance, /#/container, and `?attach` behind it
// for following what it writes; /#/?watch=ID for watching a session. A link never holds a token. Pure.

export interface Target {
  app: string;
  proc: string;
  /** Empty: the only one. */
  instance: string;
  /** By name or id, in place of the three. */
  container: string;
  /** Follow what the container itself writes. */
  attach: boolean;
  /** The id of a session that is watched, in place of all that. */
  watch: string;
}

const SESSION = /^[0-9a-f]{16}:[0-9a-f]{16}$/;

export const NOTHING: Target = { app: "", proc: "", instance: "", container: "", attach: false, watch: "" };

/** The target of a link's fragment, with its `#` or without; nothing if it names none. */
export function fromLink(fragment: string): Target | undefined {
  const [path = "", query] = fragment.replace(/^#/, "").split("?", 2);
  if (!path.startsWith("/")) return undefined;
  let words: string[];
  try {
    words = path.slice(1).split("/").map(decodeURIComponent);
  } catch {
    return undefined;
  }
  if (words.at(-1) === "") words.pop();
  const attach = query === "attach";
  const watch = /^watch=(.*)$/.exec(query ?? "")?.[1] ?? "";
  if (path === "/" && SESSION.test(watch)) return { ...NOTHING, watch };
  const [app = "", proc = "", instance = ""] = words;
  if (words.length > 3 || words.length === 0 || words.includes("")) return undefined;
  if (words.length === 1) return { ...NOTHING, container: app, attach };
  return { ...NOTHING, app, proc, instance, attach };
}

/** The fragment that names it. */
export function toLink(target: Target): string {
  if (target.watch) return `#/?watch=${target.watch}`;
  const words = target.container ? [target.container] : [target.app, target.proc, target.instance].filter(Boolean);
  return `#/${words.map(encodeURIComponent).join("/")}${target.attach ? "?attach" : ""}`;
}

/** In a tab's few letters. */
export function toName(target: Target): string {
  if (target.watch) return `session ${target.watch.slice(-16).replace(/^0+/, "")}`;
  if (target.container) return target.container;
  return [target.app, target.proc, target.instance].filter(Boolean).join("/");
}

export function isWhole(target: Target): boolean {
  return target.watch !== "" || target.container !== "" || (target.app !== "" && target.proc !== "");
}
