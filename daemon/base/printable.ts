// Owns text of others on its way to a terminal or a log. Must not know where it is shown.

/**
 * Characters that do more than stand there: control characters (C0, DEL, C1), line ends of all kinds, the invisible
 * ones that turn the direction of text or join it, and halves of surrogate pairs.
 */
const ACTIVE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** The same text with its active characters written out: a name must not forge lines, colours or other names. */
export function printable(text: string): string {
  return text.replace(ACTIVE, (character) => {
    if (character === "\n") return "\\n";
    const code = (character.codePointAt(0) ?? 0).toString(16);
    if (code.length > 4) return `\\u{${code}}`;
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
}

/** Whether printable() changes it. */
export function isPrintable(text: string): boolean {
  return text.search(ACTIVE) === -1;
}

/** The same JSON, escaped in place of the active characters that JSON allows in a string; line ends between stay. */
export function printableJson(json: string): string {
  return json.replace(ACTIVE, (character) => {
    if (character === "\n") return character;
    const units = Array.from({ length: character.length }, (_, index) => character.charCodeAt(index));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}
