// Owns the verbs with their arguments and help, and the one place where a command ends.
// Must not know how a verb does its work.

import { Argument, Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { LISTED_MAPS } from "../../daemon/admin/api.js";
import { EVENT_NAMES } from "../../daemon/admin/event-answers.js";
import { LOG_LEVELS, SUBSYSTEMS } from "../../daemon/base/log-levels.js";
import { printable } from "../../daemon/base/printable.js";
import { accessLogStatus, switchAccessLog, tailAccessLog } from "./accesslog.js";
import { authzStatus, type ExplainOptions, explainAuthz, showAuthz, switchAuthz } from "./authz.js";
import { type Act, addCluster, type Verb } from "./cluster/commands.js";
import { statusOfAll } from "./cluster/nodes.js";
import { COMPLETE_COMMAND, candidates, completionScript, SHELLS, type Shell } from "./completion.js";
import { addGlobalOptions, type Context, contextOf, type Terminal } from "./context.js";
import { diff } from "./diff.js";
import { DUMP_KINDS, type DumpKind, type DumpOptions, dump } from "./dump.js";
import { enroll, unenroll } from "./enroll.js";
import { type EventsOptions, events } from "./events.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { log } from "./log.js";
import { type MonitoringOptions, monitoring, SWITCH } from "./monitoring.js";
import { type NameKind, named } from "./named.js";
import { explainRoute, type RouteOptions } from "./route.js";
import { status } from "./status.js";
import { SORTS, type TopOptions, top } from "./top.js";
import { type TryOptions, tryAuthz } from "./try-authz.js";
import { ungoverned } from "./ungoverned.js";
import { type VersionOptions, version } from "./version.js";

const EXIT_CODES = `
Exit codes:
  0  done
  1  the daemon refused, is not ready (status), differs from the kernel (diff), or would change or lacks (--exit-code)
  2  wrong usage
  3  no daemon answers, or what answers is none`;

/** Runs one command line (without node and script) and gives the exit code. */
export async function run(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const program = buildProgram(terminal);
  try {
    await program.parseAsync([...args], { from: "user" });
    return ExitCode.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
    if (!(error instanceof CommandFailure)) throw error;
    terminal.stderr.write(`weftctl: ${printable(error.message)}\n`);
    return error.exitCode;
  }
}

// biome-ignore lint/complexity/noExcessiveLinesPerFunction: a list of commands, no decisions
function buildProgram(terminal: Terminal): Command {
  const program = new Command("weftctl")
    .description("Looks into a running weftd and turns its switches.")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.stdout.write(text),
      writeErr: (text) => terminal.stderr.write(text),
    })
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("(weftctl --help shows how)");
  addGlobalOptions(program);
  program.addHelpText(
    "after",
    `${EXIT_CODES}\n${examples(["status", "dump bpf addresses", "-o json dump service"])}`,
  );

  const verb = (parent: Command, name: string, description: string, shown: readonly string[]) =>
    parent.command(name).description(description).addHelpText("after", examples(shown));
  const act =
    (action: (context: Context, command: Command) => Promise<void>) =>
    async (...given: unknown[]) => {
      const command = given.at(-1);
      if (!(command instanceof Command)) throw new Error("commander gave no command");
      const context = contextOf(command, terminal);
      try {
        await action(context, command);
      } finally {
        await context.close();
      }
    };

  verb(program, "version", "versions of client and daemon", ["version", "version --client -o json"])
    .option("--client", "of this client only: no daemon is asked")
    .action(act((context, command) => version(context, command.opts<VersionOptions>())));
  verb(program, "status", "readiness, warnings, hooks, control plane, pods, maps", [
    "status",
    "status -o wide",
    "status --all",
    "status --node n2",
  ])
    .option("--all", "one line for each node of the cluster")
    .action(
      act((context, command) =>
        command.opts<{ all?: true }>().all
          ? statusOfAll(context.out, context.kube(), context.weftNamespace)
          : status(context),
      ),
    );
  verb(program, "dump", "the daemon's configuration or the kernel's maps", [
    "dump workload -n default",
    "dump service -o wide",
    "dump bpf",
    "dump bpf addresses -o yaml",
  ])
    .addArgument(new Argument("<KIND>", "what to show").choices(DUMP_KINDS))
    .addArgument(new Argument("[MAP]", "with bpf: this map only").choices(LISTED_MAPS))
    .addOption(
      named(new Option("-n, --namespace <NAMESPACE>", "only resources of this namespace"), "namespace"),
    )
    .action(
      act((context, command) => {
        const [kind, map] = command.processedArgs as [DumpKind, string | undefined];
        if (map !== undefined && kind !== "bpf")
          throw new CommandFailure("MAP goes with bpf only", ExitCode.usage);
        return dump(context, kind, map, command.opts<DumpOptions>());
      }),
    );
  verb(program, "diff", "what the daemon believes against what the kernel holds", [
    "diff",
    "diff -o json",
  ]).action(act(diff));
  addEvents(program, verb, act);
  addCluster(program, verb, act);
  verb(program, "log", "levels of the daemon's loggers", [
    "log",
    "log xds",
    "log --set xds:debug --set bpf:trace",
  ])
    .addArgument(new Argument("[NAME]", "this logger only").choices(SUBSYSTEMS))
    .addOption(
      new Option("--set <SUBSYSTEM:LEVEL>", `change a level (${LOG_LEVELS.join(", ")}); default: means all`)
        .argParser((value: string, before: string[] | undefined) => [...(before ?? []), value])
        .default([], "none"),
    )
    .action(
      act((context, command) => {
        const [name] = command.processedArgs as [string | undefined];
        return log(context, name, command.opts<{ set: string[] }>().set);
      }),
    );
  addAccessLog(
    verb(program, "accesslog", "the access log: state, switch, live view", ["accesslog"]),
    verb,
    act,
  );
  addMonitoring(program, verb, act);
  addAuthz(verb(program, "authz", "authorization: state, switch, a pod's policies", ["authz"]), verb, act);
  const explain = verb(program, "explain", "why a connection goes as it goes", [
    "explain authz --from shop/cart --to shop/db:5432",
    "explain route --from shop/cart --to reviews:9080",
  ]);
  verb(explain, "authz", "the kernel's verdict on a connection to a pod of this node, and why", [
    "explain authz --from shop/cart --to shop/db:5432",
    "explain authz --from 10.244.0.17 --to [fd00:10::5]:8080 -o json",
  ])
    .addOption(must("--from <POD|ADDRESS>", "who connects: NAMESPACE/NAME or an address", "workload"))
    .addOption(must("--to <POD:PORT>", "an enrolled pod with a port of its own, or ADDRESS:PORT", "pod", ":"))
    .action(act((context, command) => explainAuthz(context, command.opts<ExplainOptions>())));
  verb(explain, "route", "where the kernel leads a connection of a pod of this node, and why", [
    "explain route --from shop/cart --to reviews:9080",
    "explain route --from shop/cart --to 10.96.0.20:9080 -o json",
    "explain route --from shop/cart --to kube-system/kube-dns:53 --udp",
  ])
    .addOption(must("--from <POD>", "who connects: NAMESPACE/NAME of an enrolled pod", "pod"))
    .addOption(
      must(
        "--to <HOST:PORT>",
        "a service as the pod names it, NAMESPACE/HOST:PORT, or ADDRESS:PORT",
        "service",
      ),
    )
    .option("--udp", "ask for a datagram, not for a TCP connection")
    .action(act((context, command) => explainRoute(context, command.opts<RouteOptions>())));
  verb(program, "enroll", "put pods under the mesh", ["enroll default/web=/run/netns/web"])
    .argument("<NAMESPACE/NAME=NETNS...>", "pods and the paths of their network namespaces")
    .action(act((context, command) => enroll(context, command.processedArgs[0] as string[])));
  verb(program, "unenroll", "take pods out of the mesh", ["unenroll default/web"])
    .addArgument(named(new Argument("<NAMESPACE/NAME...>", "pods"), "pod"))
    .action(act((context, command) => unenroll(context, command.processedArgs[0] as string[])));
  verb(program, "completion", "script that completes weftctl in a shell", [
    "completion bash > /etc/bash_completion.d/weftctl",
  ])
    .addArgument(new Argument("<SHELL>", "which").choices(SHELLS))
    .action((shell: Shell) => void terminal.stdout.write(completionScript(shell, program.name())));
  program
    .command(COMPLETE_COMMAND, { hidden: true })
    .argument("[WORDS...]")
    .allowUnknownOption()
    .action(async (words: string[]) => {
      for (const candidate of await candidates(program, words, terminal))
        terminal.stdout.write(`${printable(candidate)}\n`);
    });
  return program;
}

/** What is happening, and what has happened. */
function addEvents(parent: Command, verb: Verb, act: Act): void {
  verb(parent, "top", "who talks to whom: connections, bytes, failures, denials, a second", [
    "top",
    "top -n shop --sort bytes",
    "top --once",
    "top --once --interval 5s -o json",
  ])
    .option("--once", "one answer: sums since counting began, or the rates of one --interval")
    .option("--interval <DURATION>", "between two looks (default: 2s)")
    .addOption(
      named(
        new Option("-n, --namespace <NAMESPACE>", "only where source or destination is of this namespace"),
        "namespace",
      ),
    )
    .addOption(new Option("--sort <BY>", "the most first").choices(SORTS).default("connections"))
    .option("--limit <ROWS>", "rows at most", "40")
    .action(act((context, command) => top(context, command.opts<TopOptions>())));
  verb(parent, "ungoverned", "pods of this node that are not governed, or not wholly, and why", [
    "ungoverned",
    "ungoverned --exit-code",
  ])
    .option("--exit-code", "exit 1 when there are any")
    .action(
      act((context, command) => ungoverned(context, command.opts<{ exitCode?: true }>().exitCode === true)),
    );
  verb(parent, "events", "what changed on the node: policies, endpoints, pods, control plane, warnings", [
    "events",
    "events --since 15m --type policy --type endpoint",
    "events -f -o json",
  ])
    .option("--since <DURATION|TIME>", "from when on: 15m, 24h, 2026-11-29T12:00:00Z", "1h")
    .addOption(
      new Option("--type <TYPE>", "events of this type only; may be repeated")
        .choices(EVENT_NAMES)
        .argParser((value: string, before: string[] | undefined) => [
          ...(before ?? []),
          oneOf(EVENT_NAMES, value),
        ])
        .default([], "all"),
    )
    .option("-f, --follow", "go on with what comes, until Ctrl-C")
    .action(act((context, command) => events(context, command.opts<EventsOptions>())));
}

/** An option that may be repeated looks at its choices itself. */
function oneOf(choices: readonly string[], value: string): string {
  if (choices.includes(value)) return value;
  throw new InvalidArgumentError(`Allowed choices are ${choices.join(", ")}.`);
}

function addAccessLog(parent: Command, verb: Verb, act: Act): void {
  parent.action(act(accessLogStatus));
  verb(parent, "enable", "log every connection", ["accesslog enable"]).action(
    act((context) => switchAccessLog(context, true)),
  );
  verb(parent, "disable", "log none", ["accesslog disable"]).action(
    act((context) => switchAccessLog(context, false)),
  );
  verb(parent, "tail", "connections as they end, whether or not the log is enabled", [
    "accesslog tail",
    "accesslog tail --filter 'dst.service=reviews.* direction=INBOUND'",
    "accesslog tail --filter event=denied -o json",
  ])
    .option(
      "--filter <EXPR>",
      "FIELD=TEXT or FIELD!=TEXT, * for any text; all must hold, or those on one side of the word 'or'",
      "",
    )
    .action(act((context, command) => tailAccessLog(context, command.opts<{ filter: string }>().filter)));
}

function addMonitoring(parent: Command, verb: Verb, act: Act): void {
  const option = (flag: string, what: string) => new Option(`${flag} <SWITCH>`, what).choices(SWITCH);
  verb(parent, "monitoring", "what is counted and logged in detail: state, switches", [
    "monitoring",
    "monitoring --workload-metrics enable",
    "monitoring --all disable --access-log enable",
  ])
    .addOption(option("--workload-metrics", "by the destination's pod, with retransmissions and losses"))
    .addOption(option("--connection-metrics", "of each connection that is open for more than 5s"))
    .addOption(option("--access-log", "a line for every connection"))
    .addOption(option("--all", "all three, before the others are looked at"))
    .action(act((context, command) => monitoring(context, command.opts<MonitoringOptions>())));
}

function addAuthz(parent: Command, verb: Verb, act: Act): void {
  parent.action(act(authzStatus));
  verb(parent, "status", "whether verdicts are enforced", ["authz status"]).action(act(authzStatus));
  verb(parent, "enable", "enforce verdicts", ["authz enable"]).action(
    act((context) => switchAuthz(context, true)),
  );
  verb(parent, "disable", "allow every connection to every pod of this node, until enabled", [
    "authz disable",
  ]).action(act((context) => switchAuthz(context, false)));
  verb(parent, "show", "the policies in force for a pod, in the order in which they act", [
    "authz show default/web",
    "authz show default/web -o yaml",
  ])
    .addArgument(named(new Argument("<NAMESPACE/NAME>", "an enrolled pod"), "pod"))
    .action(act((context, command) => showAuthz(context, command.processedArgs[0] as string)));
  const names = (value: string, before: string[] | undefined) => [...(before ?? []), value];
  verb(
    parent,
    "try",
    "who of those seen talking other policies would refuse, and who admit; enforces nothing",
    [
      "authz try policy.yaml",
      "authz try policy.yaml --workload shop/db",
      "authz try --remove shop/deny-strangers",
      "authz try - -o json < policies.yaml",
    ],
  )
    .argument(
      "[FILE]",
      "Istio AuthorizationPolicies or policies of a mesh file, YAML or JSON; -: standard input",
    )
    .addOption(
      named(
        new Option(
          "--workload <NAMESPACE/NAME>",
          "whom a policy with a selector means, which xDS does not tell",
        ),
        "workload",
      )
        .argParser(names)
        .default([], "those that name the policy now"),
    )
    .addOption(
      named(new Option("--remove <NAMESPACE/NAME>", "a policy to do without"), "policy")
        .argParser(names)
        .default([], "none"),
    )
    .option("--exit-code", "exit 1 when a verdict would change")
    .action(
      act((context, command) =>
        tryAuthz(context, command.processedArgs[0] as string | undefined, command.opts<TryOptions>()),
      ),
    );
}

/** An option without which the verb does not run, and whose value is a name. */
function must(flags: string, description: string, kind: NameKind, suffix = ""): Option {
  return named(new Option(flags, description), kind, suffix).makeOptionMandatory();
}

function examples(lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  weftctl ${line}`).join("\n")}`;
}
