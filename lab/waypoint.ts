// Owns a waypoint for tests that does nothing but tell what it was told: it reads the header and checks the bytes after
// it. Must not know weft.

import { createServer, type Socket } from "node:net";

export interface WaypointOptions {
  readonly host: string;
  readonly port: number;
  /** Tells it as soon as the header is there, and not at the first line. */
  readonly speaksFirst?: boolean;
}

const SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a21", "hex");
/** The only line that a client of the lab sends. */
const QUESTION = "what is your name?\n";
const OTHER_QUESTION = "question\n";

/** Connections whose first bytes were no header. */
let bare = 0;

export function heardBare(_: undefined): number {
  return bare;
}

interface Told {
  /** `destination port source port`, as far as the header says. */
  readonly text: string;
  readonly length: number;
}

/**
 * Answers each question with `DESTINATION PORT from SOURCE PORT` of the header (kmesh: only the first two), `BARE` where
 * there was none, `WRONG` where anything else follows.
 */
export async function serveWaypoint({ host, port, speaksFirst = false }: WaypointOptions): Promise<void> {
  const server = createServer((socket) => {
    let told: Told | undefined;
    let bytes = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("data", (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
      if (told === undefined) {
        const read = readHeader(bytes);
        if (read === "more") return;
        told = read;
        bytes = bytes.subarray(told.length);
        if (speaksFirst) socket.write(`${told.text}\n`);
      }
      bytes = answer(socket, told, bytes);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen({ host, port, backlog: 1024 }, resolve);
  });
}

/** Answers what there is; gives what is not yet a whole question. */
function answer(socket: Socket, told: Told, bytes: Buffer): Buffer<ArrayBuffer> {
  let rest = bytes.toString("latin1");
  while (rest.includes("\n")) {
    const line = rest.slice(0, rest.indexOf("\n") + 1);
    rest = rest.slice(line.length);
    socket.write(line === QUESTION || line === OTHER_QUESTION ? `${told.text}\n` : "WRONG\n");
  }
  return Buffer.from(rest, "latin1");
}

function readHeader(bytes: Buffer): Told | "more" {
  if (bytes[0] === 0x01) return readKmesh(bytes);
  const isProxy = bytes.subarray(0, SIGNATURE.length).equals(SIGNATURE.subarray(0, bytes.length));
  if (!isProxy) {
    bare++;
    return { text: "BARE", length: 0 };
  }
  const size = bytes[13] === 0x21 ? 16 : 4;
  const length = 16 + 2 * size + 4;
  if (bytes.length < length) return "more";
  const isWhole = bytes[13] === (size === 16 ? 0x21 : 0x11) && bytes.readUInt16BE(14) === length - 16;
  const at = 16;
  const source = `${addressAt(bytes, at, size)} ${bytes.readUInt16BE(at + 2 * size)}`;
  const destination = `${addressAt(bytes, at + size, size)} ${bytes.readUInt16BE(at + 2 * size + 2)}`;
  return { text: isWhole ? `${destination} from ${source}` : "WRONG HEADER", length };
}

function readKmesh(bytes: Buffer): Told | "more" {
  if (bytes.length < 5) return "more";
  const length = bytes.readUInt32BE(1);
  if (length !== 6 && length !== 18) return { text: "WRONG HEADER", length: 0 };
  const end = 5 + length;
  if (bytes.length < end + 5) return "more";
  const isWhole = bytes.subarray(end, end + 5).equals(Buffer.from([0xfe, 0, 0, 0, 0]));
  const destination = `${addressAt(bytes, 5, length - 2)} ${bytes.readUInt16BE(end - 2)}`;
  return { text: isWhole ? destination : "WRONG HEADER", length: end + 5 };
}

/** IPv4 as it is written, IPv6 as its groups without zeros in front. */
function addressAt(bytes: Buffer, at: number, size: number): string {
  if (size === 4) return [...bytes.subarray(at, at + 4)].join(".");
  return Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(at + 2 * group).toString(16)).join(":");
}
