// Owns YAML whose every part has a place in its text. Must not know what the text is for.

import {
  type Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  parseDocument,
} from "yaml";
import { messageOf } from "./errors.js";

/** Both count from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface YamlProblem {
  readonly place: Place;
  /** One line. */
  readonly reason: string;
}

export type ReadYaml =
  | { readonly ok: false; readonly problems: readonly YamlProblem[] }
  | {
      readonly ok: true;
      /** As JSON would have it; undefined when the text is empty. */
      readonly content: unknown;
      /**
       * Where a part stands: a plain value itself, a map or list by its key; what is missing, by the nearest part
       * around it that is there. With `inKey` a plain value by its key too.
       */
      placeOf(path: readonly PropertyKey[], inKey?: boolean): Place;
    };

/** Reads a text with one document. Aliases that unfold to far more than the text are a problem like any other. */
export function readYaml(text: string): ReadYaml {
  const lines = new LineCounter();
  return readDocument(parseDocument(text, { lineCounter: lines, prettyErrors: false }), lines);
}

/** As readYaml(), each document of a text with any number of them. */
export function readYamlDocuments(text: string): ReadYaml[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  return [...documents].map((document) => readDocument(document, lines));
}

function readDocument(document: Document.Parsed, lines: LineCounter): ReadYaml {
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  if (document.errors.length > 0) {
    const problems = document.errors.map(({ pos, message }) => ({
      place: place(pos[0]),
      reason: oneLine(message),
    }));
    return { ok: false, problems };
  }
  try {
    return {
      ok: true,
      content: document.toJS() ?? undefined,
      placeOf: (path, inKey = false) => place(offsetOf(document.contents, path, inKey)),
    };
  } catch (error) {
    return { ok: false, problems: [{ place: place(0), reason: oneLine(messageOf(error)) }] };
  }
}

function offsetOf(contents: unknown, path: readonly PropertyKey[], inKey: boolean): number {
  let node: unknown = contents;
  let offset = start(node) ?? 0;
  for (const key of path) {
    if (isSeq(node)) {
      node = node.items[Number(key)];
      offset = start(node) ?? offset;
    } else if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key));
      offset = start(pair?.key) ?? offset;
      node = pair?.value;
    } else {
      break;
    }
  }
  return isScalar(node) && !inKey ? (start(node) ?? offset) : offset;
}

function start(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ");
}
