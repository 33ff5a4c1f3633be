import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../lab/wait.js";
import { createWorld, vip, type World, web, webPort } from "./world.js";

/** "what is your name?\n" and "web-a\n", as the peers write them. */
const questionBytes = 19;
const replyBytes = 6;
const connections = 40;

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world?.remove());

const metric = (name: string, labels: Record<string, string>) => world.freshMetric(name, labels);

test.each([
  "kmesh",
  "istio",
])("%s_tcp metrics count each connection and each byte, at both ends", async (prefix) => {
  const names = [
    "connections_opened",
    "connections_closed",
    "sent_bytes",
    "received_bytes",
    "connections_failed",
  ];
  // At the destination the virtual address is not known any more: there the service is the workload's first.
  const service = { source: { destination_service: web }, destination: {} };
  const read = async (reporter: "source" | "destination") => {
    const labels = { reporter, source_workload: "client", ...service[reporter] };
    return Promise.all(names.map((name) => metric(`${prefix}_tcp_${name}_total`, labels)));
  };
  const before = { source: await read("source"), destination: await read("destination") };
  const input = { host: vip.web.ipv4, port: webPort, count: connections };
  const tally = await world.peers.client.call("askMany", input);
  expect(tally.errors).toEqual({});

  const asked = connections * questionBytes;
  const answered = connections * replyBytes;
  const gained = async (reporter: "source" | "destination") =>
    (await read(reporter)).map((value, i) => value - (before[reporter][i] ?? 0));
  // The closing ends of both sides come a moment after the last reply.
  await until("all connections closed", async () => {
    return (await gained("source"))[1] === connections && (await gained("destination"))[1] === connections;
  });
  // As Istio has it, whoever reports: sent is what the server sent, received what the client did.
  expect(await gained("source")).toEqual([connections, connections, answered, asked, 0]);
  expect(await gained("destination")).toEqual([connections, connections, answered, asked, 0]);
});

test("a refusal for want of an endpoint is counted with its flag", async () => {
  const labels = { reporter: "source", response_flags: "NO_ENDPOINT" };
  const before = await metric("kmesh_tcp_connections_failed_total", labels);
  await world.peers.client.call("askMany", { host: vip.empty, port: webPort, count: 7 });
  expect((await metric("kmesh_tcp_connections_failed_total", labels)) - before).toBe(7);
});

test("a denial is counted with its flag", async () => {
  const policy = {
    name: "deny-other",
    action: "DENY",
    rules: [{ principals: ["cluster.local/ns/shop/sa/other"] }],
  };
  const ask = () => world.peers.other.call("ask", { host: vip.web.ipv4, port: webPort });
  await world.push({ policies: [policy] }, "the denial", async () => !(await ask()).ok);
  const labels = { reporter: "destination", response_flags: "DENY", source_workload: "other" };
  const before = await metric("kmesh_tcp_connections_failed_total", labels);
  await world.peers.other.call("askMany", { host: vip.web.ipv4, port: webPort, count: 9 });
  expect((await metric("kmesh_tcp_connections_failed_total", labels)) - before).toBe(9);
});

test("the access log has a line a connection and end, with its bytes", async () => {
  const before = world.mesh.accessLog().length;
  const answer = await world.peers.client.call("ask", { host: vip.web.ipv4, port: webPort });
  if (!answer.ok) throw new Error(`asking failed with ${answer.code}`);
  const lines = await until("two lines", () => {
    const found = world.mesh
      .accessLog()
      .slice(before)
      .filter((line) => line.includes(`src.addr=${answer.local},`));
    return found.length >= 2 && found;
  });
  expect(lines).toHaveLength(2);
  const outbound = lines.find((line) => line.includes("direction=OUTBOUND"));
  expect(outbound).toMatch(
    /^accesslog: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} \+0000 UTC src\.addr=10\.77\.0\.11:\d+, src\.workload=client, src\.namespace=shop, dst\.addr=10\.77\.0\.2\d:8080, dst\.service=web\.shop\.svc\.cluster\.local, dst\.workload=web-[abc], dst\.namespace=shop, direction=OUTBOUND, sent_bytes=19, received_bytes=6, duration=[\d.]+ms/,
  );
  const inbound = lines.find((line) => line.includes("direction=INBOUND"));
  expect(inbound).toContain("sent_bytes=6, received_bytes=19");
  expect(inbound).toContain(`dst.workload=${answer.reply}`);
});
