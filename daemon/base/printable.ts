// Owns text of others on its way to a terminal or a log. Must not know where it is shown.

/** Control characters (C0, DEL, C1) and line ends of all kinds, written out: a name must not forge lines or colours. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (character) => {
    if (character === "\n") return "\\n";
    const code = character.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, "0")}`;
  });
}
