import { expect, it } from "vitest";
import { base, serveEachTest, setPage } from "../../daemon/admin/test-server.js";
import { ExitCode } from "./failure.js";
import { runWeftctl } from "./test-terminal.js";
import { bytes } from "./top.js";

serveEachTest();

const weftctl = (...args: string[]) => runWeftctl(["--admin", base, ...args]);

interface Line {
  readonly from?: string;
  readonly to?: string;
  readonly namespace?: string;
  readonly reporter?: "source" | "destination";
  readonly flags?: string;
  readonly service?: string;
}
/** A line of the page of metrics. */
function line(family: string, value: number, of: Line = {}): string {
  const {
    from = "cart",
    to = "db",
    namespace = "shop",
    reporter = "source",
    flags = "-",
    service = "db.shop",
  } = of;
  const labels = {
    reporter,
    source_workload: from,
    source_workload_namespace: namespace,
    source_app: "{}",
    destination_service: service,
    destination_service_namespace: "shop",
    destination_workload: to,
    destination_workload_namespace: "shop",
    response_flags: flags,
  };
  const text = Object.entries(labels).map(([name, label]) => `${name}="${label}"`);
  return `kmesh_tcp_${family}_total{${text.join(",")}} ${value}\n`;
}
const opened = (value: number, of?: Line) => line("connections_opened", value, of);
const failed = (value: number, of?: Line) => line("connections_failed", value, of);

it("tells who talks to whom, each pair once, denials apart from failures", async () => {
  setPage(
    "# TYPE kmesh_tcp_connections_opened_total counter\n" +
      opened(5) +
      opened(5, { reporter: "destination", service: "other" }) +
      opened(2, { service: "second.shop" }) +
      line("sent_bytes", 1500) +
      line("received_bytes", 20, { service: "second.shop" }) +
      failed(9, { flags: "CONNECT" }) +
      failed(7, { flags: "DENY", reporter: "destination" }) +
      opened(1, { from: "web", namespace: "front" }) +
      'istio_tcp_connections_opened_total{reporter="source"} 99\nweft_pods{state="named"} 3\n',
  );
  const { out, code } = await weftctl("top", "--once", "-o", "json");
  expect(code).toBe(ExitCode.ok);
  const { talks, seconds } = JSON.parse(out);
  expect([seconds, talks]).toEqual([
    null,
    [
      {
        ...{ source: "shop/cart", destination: "shop/db", service: "db.shop second.shop" },
        ...{ connections: 7, received: 20, sent: 1500, failed: 2, denied: 7 },
      },
      {
        ...{ source: "front/web", destination: "shop/db", service: "db.shop" },
        ...{ connections: 1, received: 0, sent: 0, failed: 0, denied: 0 },
      },
    ],
  ]);
  const table = (await weftctl("top", "--once")).out;
  expect(table).toMatch(/^FROM +TO +CONNECTIONS +REQUESTS +RESPONSES +FAILED +DENIED\n/);
  expect(table).toMatch(/^shop\/cart +shop\/db +7 +20 B +1\.5 kB +2 +7\n/m);
  expect((await weftctl("top", "--once", "-n", "front")).out).not.toContain("shop/cart");
  expect((await weftctl("top", "--once", "--limit", "1")).out).not.toContain("front/web");
});

it("gives rates between two looks, and nothing of those who are idle", async () => {
  setPage(opened(5) + opened(100, { from: "idle" }) + line("sent_bytes", 10, { from: "new" }));
  const running = weftctl("top", "--once", "--interval", "1s", "-o", "json");
  await new Promise((resolve) => setTimeout(resolve, 300));
  setPage(opened(25) + opened(100, { from: "idle" }) + line("sent_bytes", 10, { from: "new" }));
  const { seconds, talks } = JSON.parse((await running).out);
  expect(talks).toHaveLength(1);
  expect(talks[0].source).toBe("shop/cart");
  expect(talks[0].connections * seconds).toBeCloseTo(20, 5);
});

it("leaves names as they are in the page, and lets none at the terminal raw", async () => {
  setPage(opened(1, { from: 'a\\"b\\\\c\\n\x1b[2J' }));
  const { out } = await weftctl("top", "--once");
  expect(out).toContain('shop/a"b\\c\\n\\x1b[2J');
});

it("ends with Ctrl-C, and refuses what it cannot do", async () => {
  setPage(opened(1));
  const interrupt = new AbortController();
  const running = runWeftctl(["--admin", base, "top", "--interval", "20ms", "-o", "json"], {
    interrupt: interrupt.signal,
    onOutput: (text) => {
      if (text.split("\n").length > 2) interrupt.abort();
    },
  });
  expect((await running).code).toBe(ExitCode.ok);
  for (const wrong of [
    ["--interval", "soon"],
    ["--limit", "all"],
    ["--sort", "name"],
    ["-o", "yaml"],
  ])
    expect(await weftctl("top", ...wrong), wrong.join(" ")).toMatchObject({ code: ExitCode.usage });
});

it("writes bytes as people read them", () => {
  expect([0, 999, 1500, 2_000_000, 5e15].map(bytes)).toEqual(["0 B", "999 B", "1.5 kB", "2.0 MB", "5.0 PB"]);
});

it("lists the pods that are not governed", async () => {
  const { out, code } = await weftctl("ungoverned");
  expect([code, out]).toEqual([
    ExitCode.ok,
    "POD           WHY\ndefault/lost  pending: no namespace at /run/netns/lost\n\n1 governed\n",
  ]);
  expect(await weftctl("ungoverned", "--exit-code")).toMatchObject({ code: ExitCode.failure });
});
