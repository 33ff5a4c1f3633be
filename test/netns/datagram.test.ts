import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createWorld, dnsPort, dnsTargetPort, endpoints, vip, type World } from "./world.js";

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world?.remove());

describe.each([
  ["IPv4", vip.dns.ipv4],
  ["IPv6", vip.dns.ipv6],
  ["IPv4 through an IPv6 socket", `::ffff:${vip.dns.ipv4}`],
])("%s", (_, host) => {
  const frontend = `${host}:${dnsPort}`;

  test("sendto and recvfrom: replies come from the virtual address, one socket keeps its endpoint", async () => {
    const answers = await world.peers.client.call("askUdp", {
      host,
      port: dnsPort,
      connected: false,
      count: 5,
    });
    expect(answers.map(({ from }) => from)).toEqual(Array(5).fill(frontend));
    const names = new Set(answers.map(({ reply }) => reply));
    expect(names.size).toBe(1);
    expect(endpoints).toContain([...names][0]);
  });

  test("connect and send: peer and replies are the virtual address", async () => {
    const answers = await world.peers.client.call("askUdp", {
      host,
      port: dnsPort,
      connected: true,
      count: 5,
    });
    expect(answers.map(({ from }) => from)).toEqual(Array(5).fill(frontend));
    expect(answers.map(({ remote }) => remote)).toEqual(Array(5).fill(frontend));
  });
});

test("sockets spread over the endpoints", async () => {
  const seen = new Set<string | undefined>();
  for (let i = 0; i < 40; i++) {
    const [answer] = await world.peers.client.call("askUdp", {
      host: vip.dns.ipv4,
      port: dnsPort,
      connected: false,
    });
    seen.add(answer?.reply);
  }
  expect([...seen].sort()).toEqual([...endpoints]);
});

test("an endpoint asked by its own address answers with it", async () => {
  const [answer] = await world.peers.client.call("askUdp", {
    host: "10.77.0.22",
    port: dnsTargetPort,
    connected: false,
  });
  expect(answer).toMatchObject({ reply: "web-b", from: `10.77.0.22:${dnsTargetPort}` });
});

test("a datagram to a port that the service lacks is refused", async () => {
  const [answer] = await world.peers.client.call("askUdp", {
    host: vip.dns.ipv4,
    port: 54,
    connected: false,
  });
  expect(answer).toMatchObject({ reply: "ECONNREFUSED" });
});

test("an unconnected socket that stays moves on when its endpoint is gone", async () => {
  const input = { host: vip.dns.ipv4, port: dnsPort, connected: false, count: 60, everyMs: 25 };
  const sockets = Array.from({ length: 6 }, () => world.peers.client.call("askUdp", input));
  await world.pushEndpoints({ unhealthy: ["web-a", "web-b"] });
  for (const answers of await Promise.all(sockets)) {
    expect(answers).toHaveLength(60);
    expect(answers.at(-1)).toMatchObject({ reply: "web-c", from: `${vip.dns.ipv4}:${dnsPort}` });
  }
  await world.pushEndpoints({});
});
