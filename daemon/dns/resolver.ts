// Owns asking the cluster's own resolver, by the way that the client has come: a message out, a message in.
// Must not know what a message says.

import { createSocket } from "node:dgram";
import { connect, isIP } from "node:net";
import { answers } from "./messages.js";

const DNS_PORT = 53;

/** Milliseconds that it may take: clients give up after five seconds, and ask again. */
const PATIENCE_MS = 4_000;

/** Bytes of the length before each message of TCP (RFC 1035, 4.2.2). */
export const LENGTH_BYTES = 2;

/** A message with its length before it. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

/** The first message of what has come; undefined: it is not whole yet. */
export function firstMessage(bytes: Buffer): Buffer | undefined {
  if (bytes.length < LENGTH_BYTES) return undefined;
  const end = LENGTH_BYTES + bytes.readUInt16BE(0);
  return bytes.length < end ? undefined : bytes.subarray(LENGTH_BYTES, end);
}

/** Asks in the way of the client. undefined: no answer came. */
export type AskResolver = (question: Buffer, isDatagram: boolean) => Promise<Buffer | undefined>;

/** Asks `address`, with a port of its own for each question, so that nobody guesses it. */
export function resolverAt(address: string): AskResolver {
  return (question, isDatagram) =>
    isDatagram ? askByDatagram(address, question) : askByStream(address, question);
}

function askByDatagram(address: string, question: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(isIP(address) === 4 ? "udp4" : "udp6");
    let isOver = false;
    const end = (answer?: Buffer) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(end, PATIENCE_MS);
    socket.on("error", () => end());
    socket.on("message", (answer) => {
      if (answers(answer, question)) end(answer);
    });
    // Connected: nobody else's datagram is taken.
    socket.connect(DNS_PORT, address, (error?: Error) => {
      if (error) end();
      else socket.send(question);
    });
  });
}

function askByStream(address: string, question: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    let bytes = Buffer.alloc(0);
    const socket = connect(DNS_PORT, address, () => socket.write(framed(question)));
    const end = (answer?: Buffer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(end, PATIENCE_MS);
    socket.on("error", () => end());
    socket.on("close", () => end());
    socket.on("data", (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      const answer = firstMessage(bytes);
      if (answer !== undefined) end(answers(answer, question) ? answer : undefined);
    });
  });
}
