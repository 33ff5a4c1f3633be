import { spawnSync } from "node:child_process";
import { describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { facts } from "../../daemon/admin/test-operator-view.js";
import { base, serveEachTest, stopServing, view } from "../../daemon/admin/test-server.js";
import { SHELLS } from "./completion.js";
import { ExitCode } from "./failure.js";
import { type RunOptions, runWeftctl } from "./test-terminal.js";

serveEachTest();

const weftctl = (args: string[], options: RunOptions = {}) => runWeftctl(["--admin", base, ...args], options);

/** Until somebody reads the live access log. */
const someoneTails = () => vi.waitUntil(() => view.tails.length > 0, { timeout: 10_000, interval: 5 });

describe("reading", () => {
  it("shows versions of both sides", async () => {
    const { code, out } = await weftctl(["version"]);
    expect(code).toBe(ExitCode.ok);
    expect(out).toMatch(/^client {2}\d+\.\d+\.\d+ \(\w+\)\ndaemon {2}0\.1\.0 \(abc123\)\n/);
    expect(JSON.parse((await weftctl(["version", "-o", "json"])).out).daemon.kernel).toBe("6.18");
  });

  it("shows a status with what matters first", async () => {
    const { code, out } = await weftctl(["status"]);
    expect(code).toBe(ExitCode.ok);
    expect(out.split("\n")[0]).toMatch(/^weftd 0\.1\.0 \(abc123\) on node-a, pid 4711, up .*: READY$/);
    expect(out).toContain("Control plane 127.0.0.1:15010 (plain text): connected for ");
    expect(out).toMatch(
      /HOOK +STATE +PROGRAM +ID +TARGET\nconnect4 +attached +weft_connect4 +12 +\/sys\/fs\/cgroup\/x/,
    );
    expect(out).toMatch(
      /NAMESPACE +NAME +WORKLOAD +NETNS\ndefault +web +Kubernetes\/\/Pod\/default\/web +\/run\/netns\/web/,
    );
    expect(out).toMatch(/slots +3 +32768 +0 %/);
    expect(out).not.toContain("\x1b[");
  });

  it("says how the control plane is spoken to, and until when its root certificate is good", async () => {
    const tls = { transport: "tls", serverName: "istiod", rootExpires: "2034-09-12T08:00:00.000Z" } as const;
    const line = async (address: string, more: object = {}) => {
      view.facts = { ...facts, xds: { ...facts.xds, ...tls, address, ...more } };
      return (await weftctl(["status"])).out.split("\n").find((text) => text.startsWith("Control plane"));
    };
    expect(await line("istiod:15012")).toMatch(
      /^Control plane istiod:15012 \(TLS, root certificate until 2034-09-12\): connected for /,
    );
    expect(await line("127.0.0.1:4711", { rootExpires: null })).toMatch(
      /^Control plane 127\.0\.0\.1:4711 \(TLS as istiod\): connected for /,
    );
  });

  it("exits 1 and says so when the daemon is not ready, warnings on top", async () => {
    view.facts = {
      ...facts,
      components: [{ name: "xds", ready: false, detail: "no addresses yet" }],
      xds: { ...facts.xds, state: "waiting", lastError: "ECONNREFUSED" },
    };
    const { code, out, err } = await weftctl(["status"]);
    expect([code, err]).toEqual([ExitCode.failure, "weftctl: the daemon is not ready\n"]);
    expect(out.split("\n")[0]).toMatch(/NOT READY$/);
    expect(out.split("\n")[2]).toMatch(/^warning: no control plane at 127\.0\.0\.1:15010/);
    expect(out).toMatch(/xds +not ready +no addresses yet/);
  });

  it("colours a terminal only, and not against NO_COLOR", async () => {
    expect((await weftctl(["status"], { tty: true })).out).toContain("\x1b[32mREADY\x1b[0m");
    expect((await weftctl(["status"], { tty: true, env: { NO_COLOR: "1" } })).out).not.toContain("\x1b[");
  });

  it("lets no name from the control plane reach the terminal raw", async () => {
    view.facts = {
      ...facts,
      node: "a\x1b[2Jb",
      components: [{ name: "x\ny", ready: true, detail: "\u009b" }],
    };
    const { out } = await weftctl(["status"]);
    expect(out).toContain("a\\x1b[2Jb");
    expect(out).toContain("x\\ny");
    expect(out).toContain("\\x9b");
  });

  it("dumps resources in every form", async () => {
    const table = (await weftctl(["dump", "workload"])).out;
    expect(table).toMatch(
      /^NAMESPACE +NAME +ADDRESSES +NODE .*\ndefault +web +10\.0\.0\.1 +node-a +HEALTHY +1 /,
    );
    expect(table).not.toContain("UID");
    expect((await weftctl(["dump", "workload", "-o", "wide"])).out).toContain("Kubernetes//Pod/default/web");
    const json = JSON.parse((await weftctl(["dump", "service", "-o", "json"])).out);
    expect(json[0].vips).toEqual(["/10.96.0.1", "/10.97.0.0/16"]);
    expect(parse((await weftctl(["-o", "yaml", "dump", "policy"])).out)).toMatchObject([
      { name: "no-web", dryRun: true },
    ]);
    expect((await weftctl(["dump", "policy"])).out).toContain("DENY (dry run)");
    expect((await weftctl(["dump", "service", "-n", "other"])).out).toBe("no services\n");
  });

  it("dumps the kernel's maps", async () => {
    const { out } = await weftctl(["dump", "bpf"]);
    expect(out).toContain("addresses: 1 of 16384 (HASH)\n");
    expect(out).toMatch(/address=10\.96\.0\.1 .* target=4 /m);
    expect(out).toContain("primary={address=10.0.0.1 port=8080 workload=1(default/web)}");
    expect(out).not.toContain("cidrs");
    expect((await weftctl(["dump", "bpf", "cidrs"])).out).toBe("cidrs: 0 of 16384 (LPM_TRIE)\nempty\n");
    expect(await weftctl(["dump", "bpf", "sibling_flows"])).toMatchObject({ code: ExitCode.failure });
    expect(Object.keys(JSON.parse((await weftctl(["dump", "bpf", "slots", "-o", "json"])).out).maps)).toEqual(
      ["slots"],
    );
  });

  it("exits 1 when daemon and kernel differ", async () => {
    expect(await weftctl(["diff"])).toMatchObject({ code: ExitCode.ok, out: "" });
    view.kernel.set("addresses", []);
    const { code, out, err } = await weftctl(["diff"]);
    expect([code, err]).toEqual([ExitCode.failure, "weftctl: daemon and kernel differ in 1 entry\n"]);
    expect(out).toMatch(/^MAP +KEY +DAEMON +KERNEL\naddresses +address=10\.96\.0\.1 .* +nothing\n$/);
  });
});

describe("switches", () => {
  it("sets levels and shows them", async () => {
    const { out } = await weftctl(["log", "--set", "xds:debug", "--set", "bpf:trace"]);
    expect(out).toMatch(/^LOGGER +LEVEL\n/);
    expect(out).toMatch(/^xds +debug$/m);
    expect(out).toMatch(/^bpf +trace$/m);
    expect((await weftctl(["log", "xds", "-o", "json"])).out).toContain('"debug"');
    expect(await weftctl(["log", "--set", "xds"])).toMatchObject({ code: ExitCode.usage });
    const refused = await weftctl(["log", "--set", "xds:loud"]);
    expect(refused.code).toBe(ExitCode.failure);
    expect(refused.err).toMatch(/^weftctl: "loud" is no level: use one of trace, /);
  });

  it("switches and shows the access log", async () => {
    expect((await weftctl(["accesslog"])).out).toMatch(/^access log disabled, 0 lines/);
    expect((await weftctl(["accesslog", "enable"])).out).toMatch(
      /^access log enabled to the daemon's standard output/,
    );
    expect(JSON.parse((await weftctl(["accesslog", "disable", "-o", "json"])).out).enabled).toBe(false);
  });

  it("switches and shows what is counted in detail", async () => {
    expect(await weftctl(["monitoring"])).toMatchObject({
      code: ExitCode.ok,
      out: "access log disabled\nworkload metrics disabled\nconnection metrics disabled\n",
    });
    const turned = ["--all", "enable", "--access-log", "disable", "-o", "json"];
    expect(JSON.parse((await weftctl(["monitoring", ...turned])).out)).toEqual({
      ...{ accessLog: false, workloadMetrics: true, connectionMetrics: true },
    });
    expect((await weftctl(["monitoring", "--workload-metrics", "disable"])).out).toContain(
      "workload metrics disabled\nconnection metrics enabled",
    );
    expect(await weftctl(["monitoring", "--workload-metrics", "on"])).toMatchObject({ code: ExitCode.usage });
  });

  it("follows the access log until interrupted", async () => {
    const interrupt = new AbortController();
    const running = weftctl(["accesslog", "tail", "--filter", "event=denied"], {
      interrupt: interrupt.signal,
      onOutput: () => interrupt.abort(),
    });
    await someoneTails();
    expect(view.tails[0]?.format).toBe("text");
    view.emit("accesslog: one");
    expect(await running).toEqual({ code: ExitCode.ok, out: "accesslog: one\n", err: "" });
    expect(await weftctl(["accesslog", "tail", "--filter", "what"])).toMatchObject({
      code: ExitCode.failure,
    });
    expect(await weftctl(["accesslog", "tail", "-o", "yaml"])).toMatchObject({ code: ExitCode.usage });
  });

  it("says when the daemon ends the stream", async () => {
    const running = weftctl(["accesslog", "tail"]);
    await someoneTails();
    await stopServing();
    expect(await running).toMatchObject({ code: ExitCode.unreachable });
  });

  it("enrolls and unenrolls", async () => {
    expect((await weftctl(["enroll", "default/db=/run/netns/db"])).out).toBe(
      "default/db enrolled, not known to the control plane yet\n",
    );
    expect((await weftctl(["unenroll", "default/db"])).out).toBe("default/db unenrolled\n");
    const again = await weftctl(["unenroll", "default/db"]);
    expect([again.code, again.err]).toEqual([
      ExitCode.failure,
      "weftctl: pod default/db is not enrolled: 'weftctl status' lists those that are [POD_UNKNOWN]\n",
    ]);
    expect((await weftctl(["enroll", "default/db=/nowhere"])).err).toContain("[POD_NETNS_MISSING]");
    const two = await weftctl(["enroll", "default/a=/run/netns/a", "default/b=/run/netns/b", "-o", "json"]);
    expect(JSON.parse(two.out).pods.map((each: { name: string }) => each.name)).toEqual(["a", "b"]);
    const half = await weftctl(["unenroll", "default/a", "default/gone", "-o", "json"]);
    expect(half.code).toBe(ExitCode.failure);
    expect(JSON.parse(half.out).pods.map((each: { name: string }) => each.name)).toEqual(["web", "b"]);
    for (const bad of ["default/db", "db=/run/netns/db", "a/b/c=/x"]) {
      expect(await weftctl(["enroll", bad]), bad).toMatchObject({ code: ExitCode.usage });
    }
  });
});

describe("usage", () => {
  it("knows its own version without a daemon", async () => {
    const own = await weftctl(["--admin", "127.0.0.1:1", "version", "--client", "-o", "json"]);
    expect([own.code, own.err]).toEqual([ExitCode.ok, ""]);
    expect(Object.keys(JSON.parse(own.out))).toEqual(["client"]);
    expect((await weftctl(["version", "--client"])).out).toMatch(/^client {2}\d+\.\d+\.\d+ \(\w+\)\n$/);
  });

  it("takes an empty WEFT_ADMIN for none", async () => {
    const ask = async (env: Record<string, string>) => (await runWeftctl(["accesslog"], { env })).err;
    expect(await ask({ WEFT_ADMIN: "" })).not.toContain("is no URL");
    expect(await ask({ WEFT_ADMIN: "http://127.0.0.1:1" })).toMatch(
      /^weftctl: no weftd answers at http:\/\/127\.0\.0\.1:1:/,
    );
  });

  it("tells apart wrong usage and an absent daemon", async () => {
    for (const args of [
      ["nothing"],
      ["dump"],
      ["dump", "nothing"],
      ["status", "-o", "xml"],
      ["dump", "service", "slots"],
      ["--admin", "http://", "status"],
    ]) {
      expect(await weftctl(args), args.join(" ")).toMatchObject({ code: ExitCode.usage, out: "" });
    }
    await stopServing();
    const absent = await weftctl(["status"]);
    expect([absent.code, absent.out]).toEqual([ExitCode.unreachable, ""]);
    expect(absent.err).toMatch(/^weftctl: no weftd answers at http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/);
    const half = await weftctl(["version"]);
    expect(half.code).toBe(ExitCode.unreachable);
    expect(half.out).toMatch(/^client /);
  });

  it("has help with examples for every verb, without a daemon", async () => {
    const verbs = (await weftctl(["__complete", "--", ""])).out.trim().split("\n");
    expect(verbs.length).toBeGreaterThanOrEqual(9);
    for (const verb of verbs) {
      const { code, out } = await weftctl(["--admin", "127.0.0.1:1", verb, "--help"]);
      expect([code, out.includes(`Examples:\n  weftctl ${verb}`)], verb).toEqual([ExitCode.ok, true]);
    }
    expect((await weftctl(["--help"])).out).toContain("Exit codes:\n  0  done");
  });
});

describe("completion", () => {
  const complete = async (...words: string[]) =>
    (await runWeftctl(["__complete", "--", ...words], { env: { WEFT_ADMIN: base } })).out.trim().split("\n");

  it("knows verbs, flags, choices and map names", async () => {
    expect(await complete("sta")).toEqual(["status"]);
    expect(await complete("dump", "")).toEqual(["bpf", "policy", "service", "workload"]);
    expect(await complete("dump", "bpf", "authz_")).toContain("authz_tables");
    expect(await complete("dump", "-o", "y")).toEqual(["yaml"]);
    expect(await complete("-o", "json", "accesslog", "t")).toEqual(["tail"]);
    expect(await complete("accesslog", "tail", "--")).toEqual([
      "--admin",
      "--context",
      "--filter",
      "--help",
      "--kubeconfig",
      "--node",
      "--output",
      "--pod",
      "--weft-namespace",
    ]);
    expect(await complete("log", "x")).toEqual(["xds"]);
    expect(await complete("completion", "")).toEqual(["bash", "fish", "zsh"]);
    expect(await complete("nothing", "")).not.toContain("__complete");
  });

  it("knows the daemon's names where an argument expects them", async () => {
    expect(await complete("dump", "workload", "-n", "")).toEqual(["default"]);
    expect(await complete("authz", "show", "default/")).toEqual(["default/web"]);
    expect(await complete("unenroll", "default/web", "d")).toEqual(["default/web"]);
    expect(await complete("explain", "authz", "--from", "def")).toEqual(["default/web"]);
    expect(await complete("explain", "authz", "--to", "def")).toEqual(["default/web:"]);
    expect(await complete("explain", "route", "--from=default/web", "--to", "")).toEqual(["default/web:80"]);
    expect(await complete("authz", "try", "--remove", "")).toEqual(["default/no-web"]);
    expect(await complete("authz", "show", "other")).toEqual([""]);
  });

  it("is silent when nobody answers", async () => {
    await stopServing();
    const ran = await runWeftctl(["__complete", "--", "--admin", base, "authz", "show", ""]);
    expect(ran).toEqual({ code: ExitCode.ok, out: "", err: "" });
  });

  it.each(SHELLS)("writes a script for %s that names the hidden command", async (shell) => {
    const { code, out } = await weftctl(["completion", shell]);
    expect(code).toBe(ExitCode.ok);
    expect(out).toContain("weftctl __complete -- ");
  });

  it("works in a real bash", async () => {
    const { out } = await weftctl(["completion", "bash"]);
    // The program itself is stood in for: what is tested here is the script's handling of words.
    const script = `${out}
weftctl() { [[ $1 == __complete ]] && shift 2 && printf 'asked:%s\\n' "$@"; }
COMP_WORDS=(weftctl dump bpf fr) COMP_CWORD=3
_weftctl
printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, status } = spawnSync("bash", ["-c", script], { encoding: "utf8" });
    expect([status, stdout]).toEqual([0, "asked:dump\nasked:bpf\nasked:fr\n"]);
  });

  it("asks the daemon that the words name", async () => {
    const { out } = await runWeftctl(["__complete", "--", "--admin", base, "authz", "show", ""]);
    expect(out).toBe("default/web\n");
  });
});
