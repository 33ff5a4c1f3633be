// Owns what the test pods run: a server, and clients that count what became of their connections. One file, because a
// ConfigMap carries it. Must not know Kubernetes or weft.
//
//   serve PORT                    answers each line with this pod's name, an HTTP request too; asks nobody
//   first HOST PORT               one connection before anything else, then serves 8080
//   ask HOST PORT [TIMES]         that many connections one after the other
//   load HOST PORT RATE LONG      RATE short connections a second and LONG ones that stay, until standard input ends;
//                                 prints a line when the first one has ended
//
// Clients print a tally as JSON: how often each answer and each error came.

import { connect, createServer } from "node:net";
import { hostname } from "node:os";

const [verb, ...args] = process.argv.slice(2);
const name = hostname();

/** One connection, one line, one answer; a server that is silent for 5 s has failed. */
function ask(host, port) {
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port) });
    const end = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(5_000, () => end({ error: "SILENT" }));
    socket.on("error", ({ code }) => end({ error: code }));
    socket.on("close", () => end({ error: "CLOSED" }));
    socket.once("data", (data) => end({ reply: String(data).trim() }));
    socket.write("who are you?\n");
  });
}

const tally = { replies: {}, errors: {}, lost: 0 };

function count({ reply, error }) {
  const [of, key] = reply === undefined ? [tally.errors, error] : [tally.replies, reply];
  of[key] = (of[key] ?? 0) + 1;
}

function serve(port) {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (data) => {
      if (/^(GET|HEAD) /.test(String(data)))
        socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\nconnection: close\r\n\r\n${name}`);
      else for (const _ of String(data).matchAll(/\n/g)) socket.write(`${name}\n`);
    });
  });
  server.listen({ host: "::", port: Number(port), backlog: 1024 });
}

/** A connection that asks each 200 ms; its end before `isOver` counts as lost. */
function hold(host, port, isOver) {
  const socket = connect({ host, port: Number(port) });
  const timer = setInterval(() => socket.write("still there?\n"), 200);
  socket.on("error", () => undefined);
  socket.resume();
  socket.on("close", () => {
    clearInterval(timer);
    if (!isOver()) tally.lost += 1;
  });
}

/** Where servers answer late the rate falls: what is measured is not how long a queue has become. */
const MOST_OPEN = 256;

async function load(host, port, rate, long) {
  let isOver = false;
  for (let i = 0; i < Number(long); i++) hold(host, port, () => isOver);
  const open = new Set();
  const started = performance.now();
  let begun = 0;
  let ended = 0;
  const timer = setInterval(() => {
    for (; open.size < MOST_OPEN && begun < ((performance.now() - started) * Number(rate)) / 1_000; begun++) {
      const asked = ask(host, port).then((answer) => {
        count(answer);
        open.delete(asked);
        if (ended++ === 0) process.stdout.write("begun\n");
      });
      open.add(asked);
    }
  }, 5);
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.on("end", resolve));
  clearInterval(timer);
  await Promise.all(open);
  isOver = true;
}

if (verb === "serve") serve(args[0]);
if (verb === "first") {
  count(await ask(args[0], args[1]));
  process.stdout.write(`${JSON.stringify(tally)}\n`);
  serve(8080);
}
if (verb === "ask") for (let i = 0; i < Number(args[2] ?? 1); i++) count(await ask(args[0], args[1]));
if (verb === "load") await load(...args);
if (verb === "ask" || verb === "load")
  process.stdout.write(`${JSON.stringify(tally)}\n`, () => process.exit(0));
