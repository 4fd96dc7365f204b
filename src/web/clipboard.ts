// OSC 52, by which programs reach the clipboard. Pure.

/** More is not taken from a program. */
const TEXT_BYTES_MAX = 8 * 1024 * 1024;

/** The text that a program wants in the clipboard; nothing where it asks what is in there, or speaks nonsense. */
export function decodeClipboard(data: string): string | undefined {
  const content = data.slice(data.indexOf(";") + 1);
  if (!data.includes(";") || content === "?" || content.length > (TEXT_BYTES_MAX * 4) / 3) return undefined;
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(content), (character) => character.charCodeAt(0)));
  } catch {
    return undefined;
  }
}
