// Owns the proof of what a question comes to, and of the messages. Sockets and the kernel are test/netns/dns-proxy.test.ts.

import { decode, encode, type OptAnswer, type Packet } from "dns-packet";
import { expect, it } from "vitest";
import { Deferred } from "../base/deferred.js";
import type { Addresses } from "./mesh-names.js";
import { answers } from "./messages.js";
import { DnsProxy, type Outcome } from "./proxy.js";
import { firstMessage, framed } from "./resolver.js";

const NXDOMAIN = 3;
const KNOWN: Addresses = { ipv4: ["240.240.0.1", "240.240.0.2"], ipv6: ["2001:2::1"] };

function question(name: string, type: "A" | "AAAA" | "MX" = "A", more: Packet = {}): Buffer {
  return encode({ type: "query", id: 4711, flags: 0x0100, questions: [{ type, name }], ...more });
}

/** An answer of the resolver without records. */
function said(code: number, id = 4711): Buffer {
  const message = encode({ type: "response", id, questions: [{ type: "A", name: "x.org" }] });
  message.writeUInt8((message[3] ?? 0) | code, 3);
  return message;
}

function proxy(answer: Buffer | undefined, addresses: Addresses = KNOWN) {
  const asked: string[] = [];
  const outcomes: Outcome[] = [];
  const made = new DnsProxy({
    ask: async () => answer,
    onOutcome: (outcome) => outcomes.push(outcome),
    addressesOf: (hostname, namespace) => {
      asked.push(`${namespace} ${hostname}`);
      return hostname.toLowerCase() === "api.example.org" ? addresses : undefined;
    },
  });
  return { made, asked, outcomes };
}

const read = (message: Buffer | undefined) => {
  const { id, flags, answers: records = [], questions } = decode(message ?? Buffer.alloc(0));
  return {
    id,
    code: (flags ?? 0) & 15,
    questions,
    records: records.map((each) =>
      "data" in each ? [each.type, each.data, "ttl" in each ? each.ttl : 0] : each,
    ),
  };
};

it("passes on what the resolver knows, as it is, and asks nobody else", async () => {
  const known = said(0);
  const { made, asked, outcomes } = proxy(known);
  expect(await made.answer(question("api.example.org"), "shop", true)).toBe(known);
  expect([asked, outcomes]).toEqual([[], ["resolver"]]);
});

it.each([
  [
    "A",
    [
      ["A", "240.240.0.1", 30],
      ["A", "240.240.0.2", 30],
    ],
  ],
  ["AAAA", [["AAAA", "2001:2::1", 30]]],
  // Of another type there is nothing, and the name is there all the same.
  ["MX", []],
] as const)("answers %s of a name that only the mesh knows", async (type, records) => {
  for (const resolver of [said(NXDOMAIN), said(5), said(2), undefined]) {
    const { made, asked, outcomes } = proxy(resolver);
    const answer = await made.answer(question("Api.Example.Org", type), "shop", true);
    expect(read(answer)).toMatchObject({
      id: 4711,
      code: 0,
      records,
      questions: [{ name: "Api.Example.Org", type }],
    });
    expect([asked, outcomes]).toEqual([["shop Api.Example.Org"], ["mesh"]]);
  }
});

it("passes on a refusal of what the mesh does not know either, and silence as silence", async () => {
  const unknown = said(NXDOMAIN);
  const [refusing, silent] = [proxy(unknown), proxy(undefined)];
  expect(await refusing.made.answer(question("other.org"), "shop", true)).toBe(unknown);
  expect(await silent.made.answer(question("other.org"), "shop", true)).toBeUndefined();
  expect([refusing.outcomes, silent.outcomes]).toEqual([["refused"], ["none"]]);
});

it("leaves what is no question to the resolver", async () => {
  const refusal = said(1);
  const two = encode({
    type: "query",
    id: 1,
    questions: [
      { type: "A", name: "api.example.org" },
      { type: "A", name: "b" },
    ],
  });
  const update = question("api.example.org", "A", { flags: 0x2800 });
  for (const message of [Buffer.from("what is your name?\n"), two, update, said(0)])
    expect(await proxy(refusal).made.answer(message, "shop", true)).toBe(refusal);
});

it("asks nobody about what is too short for a message", async () => {
  expect(await proxy(said(0)).made.answer(Buffer.alloc(11), "shop", true)).toBeUndefined();
});

it("says that a datagram has too little room, and offers EDNS to who does", async () => {
  const many = { ipv4: Array.from({ length: 40 }, (_, n) => `240.240.0.${n}`), ipv6: [] };
  const { made } = proxy(said(NXDOMAIN), many);
  const plain = (await made.answer(question("api.example.org"), "shop", true)) as Buffer;
  expect([plain.length <= 512, plain.readUInt16BE(2) & 0x0200, read(plain).records]).toEqual([
    true,
    0x0200,
    [],
  ]);
  expect(read(await made.answer(question("api.example.org"), "shop", false)).records).toHaveLength(40);
  const edns = {
    type: "OPT",
    name: ".",
    udpPayloadSize: 4096,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  } satisfies OptAnswer;
  const roomy = await made.answer(question("api.example.org", "A", { additionals: [edns] }), "shop", true);
  expect(read(roomy).records).toHaveLength(40);
  expect(decode(roomy as Buffer).additionals).toMatchObject([{ type: "OPT", udpPayloadSize: 1232 }]);
});

it("waits for so many at a time, and then no more until one is answered", async () => {
  const late = new Deferred<undefined>();
  let waiting = 0;
  const outcomes: Outcome[] = [];
  const made = new DnsProxy({
    ask: () => {
      waiting++;
      return late.promise;
    },
    onOutcome: (outcome) => outcomes.push(outcome),
    addressesOf: () => KNOWN,
  });
  const asked = Array.from({ length: 600 }, () => made.answer(question("api.example.org"), "shop", true));
  expect(waiting).toBe(512);
  late.resolve(undefined);
  const told = (await Promise.all(asked)).filter((answer) => answer !== undefined);
  expect(told).toHaveLength(512);
  expect(outcomes.filter((outcome) => outcome === "overflow")).toHaveLength(88);
  expect(await made.answer(question("api.example.org"), "shop", true)).toBeDefined();
});

it("takes for an answer what has the question's number, and is one", () => {
  const asked = question("x.org");
  expect([answers(said(0), asked), answers(said(0, 1), asked), answers(asked, asked)]).toEqual([
    true,
    false,
    false,
  ]);
  expect(answers(Buffer.of(1, 2, 3), asked)).toBe(false);
});

it("finds messages in a stream, whatever pieces it comes in", () => {
  const stream = Buffer.concat([framed(Buffer.from("one")), framed(Buffer.from("two"))]);
  expect([0, 1, 4].map((length) => firstMessage(stream.subarray(0, length)))).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(firstMessage(stream)?.toString()).toBe("one");
  expect(firstMessage(stream.subarray(5))?.toString()).toBe("two");
});
