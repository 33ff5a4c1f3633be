// Owns the answers to what the admin port asks of a running daemon.
// Must not know HTTP; must not change anything that it is not asked to change.

import type {
  AccessLogStatus,
  AuthzExplanation,
  AuthzPolicies,
  AuthzStatus,
  AuthzTrial,
  ComponentStatus,
  PodResponse,
  StatusFacts,
  VersionResponse,
} from "../admin/answers.js";
import type { EnrollRequest, RouteRequest, TrialRequest } from "../admin/api.js";
import type { ExpectedEntry, KernelNames, OperatorView, RawMap } from "../admin/operator-view.js";
import type { RouteExplanation } from "../admin/route-answers.js";
import type { ConnectionMetricsStatus, MonitoringStatus } from "../admin/traffic-answers.js";
import { warningsByKey } from "../admin/warnings.js";
import { failed, ok, type Result } from "../base/errors.js";
import { exhausted } from "../base/exhausted.js";
import { CONFIGURATION_MAPS } from "../bpf/capacity.js";
import type { MapName } from "../bpf/maps.gen.js";
import type { NodeEvent } from "../events/event.js";
import type { EventChoice } from "../events/journal.js";
import { StandingWarnings } from "../events/standing.js";
import { podsOfKubernetes } from "../kube/kubernetes.js";
import { authzOf, type Ends, explainAuthz } from "./explain.js";
import { explainRoute } from "./explain-route.js";
import { kernelNames } from "./kernel-names.js";
import { detailsOf } from "./metric-sources.js";
import type { Parts } from "./parts.js";
import { componentsOf } from "./readiness.js";
import { RecentGains } from "./recent-gains.js";
import { accessLogOf, factsOf, podOf, recentOf } from "./status.js";
import { tryAuthz } from "./try/try.js";
import { ungovernedPods } from "./ungoverned.js";

/** What was lost or refused within it deserves a warning. */
const RECENT_MS = 10 * 60_000;
/** Milliseconds between two looks at what deserves a warning. */
const LOOK_MS = 10_000;

/** Long-lived maps of which the compiler is the only writer. */
const COMPILED_STATE: ReadonlySet<MapName> = new Set(["pods"]);

export class DaemonView implements OperatorView {
  readonly names: KernelNames;
  readonly #parts: Parts;
  readonly #gains = new RecentGains(RECENT_MS);
  #trials: Promise<unknown> = Promise.resolve();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.names = kernelNames(parts.compiler);
  }

  /** Begins to look at what deserves a warning, and tells when one begins or ends; gives what ends it. */
  watch(): () => void {
    const { journal } = this.#parts;
    const standing = new StandingWarnings((told) => journal.tell(told));
    recentOf(this.#parts, this.#gains);
    const look = () => {
      try {
        standing.look(warningsByKey(this.status()));
      } catch (error) {
        // Without a descriptor to look with: the log says so.
        if (exhausted(error) === undefined) throw error;
      }
    };
    const timer = setInterval(look, LOOK_MS);
    return () => clearInterval(timer);
  }

  version(): VersionResponse {
    return this.#parts.version;
  }

  components(): ComponentStatus[] {
    return componentsOf(this.#parts);
  }

  status(): StatusFacts {
    return factsOf(this.#parts, this.#gains);
  }

  workloads() {
    return this.#parts.store.workloads.values();
  }

  services() {
    return this.#parts.store.services.values();
  }

  policies() {
    return this.#parts.store.policies.values();
  }

  endpoints(serviceKey: string) {
    return this.#parts.store.endpoints(serviceKey);
  }

  readMap(name: MapName): RawMap | undefined {
    const map = this.#parts.dataplane.map(name);
    if (map === undefined) return undefined;
    return { capacity: map.info.maxEntries, entries: map.entries() };
  }

  expectedMap(name: MapName): Iterable<ExpectedEntry> | undefined {
    // Until then what an earlier daemon wrote governs, and this one has written nothing.
    if (!this.#parts.dataplane.installed) return undefined;
    if (!CONFIGURATION_MAPS.includes(name) && !COMPILED_STATE.has(name)) return undefined;
    const entries: ExpectedEntry[] = [];
    for (const operation of this.#parts.reconciler.expected(name)) {
      if (operation.kind === "put") entries.push(operation);
    }
    return entries;
  }

  leavingKeys(name: MapName): Iterable<Uint8Array> {
    return [...this.#parts.reconciler.leaving(name)].map(({ key }) => key);
  }

  betweenUpdates<T>(work: () => T): Promise<T> {
    return this.#parts.reconciler.betweenUpdates(work);
  }

  loggers() {
    return this.#parts.logs.levels();
  }

  setLogLevel(name: string, level: string) {
    return this.#parts.logs.setLevel(name, level);
  }

  accessLog(): AccessLogStatus {
    return accessLogOf(this.#parts);
  }

  events(choice: EventChoice): NodeEvent[] {
    return this.#parts.journal.list(choice);
  }

  followEvents(choice: EventChoice, onEvent: (event: NodeEvent) => void): () => void {
    return this.#parts.journal.follow(choice, onEvent);
  }

  setAccessLog(enabled: boolean): Result<void> {
    this.#tellSwitch("access-log", enabled, `the access log was turned ${enabled ? "on" : "off"}`);
    this.#parts.accessLog.setEnabled(enabled);
    return ok(undefined);
  }

  monitoring(): MonitoringStatus {
    const { workloads, connections } = detailsOf(this.#parts.dataplane);
    const accessLog = this.#parts.accessLog.enabled;
    return { accessLog, workloadMetrics: workloads, connectionMetrics: connections };
  }

  connectionMetrics(): ConnectionMetricsStatus {
    const enabled = this.monitoring().connectionMetrics;
    const { shown, omitted } = this.#parts.connectionMetrics.counts;
    return { enabled, shown: enabled ? shown : 0, omitted: enabled ? omitted : 0 };
  }

  setDetail(...[detail, enabled]: Parameters<OperatorView["setDetail"]>): void {
    if (enabled === this.monitoring()[detail]) return;
    this.#parts.dataplane.changeSettings({ [detail]: Number(enabled) });
    const what = detail === "workloadMetrics" ? "workload" : "connection";
    this.#tellSwitch(`${what}-metrics`, enabled, `${what} metrics were turned ${enabled ? "on" : "off"}`);
  }

  tailAccessLog(...[options, onLine]: Parameters<OperatorView["tailAccessLog"]>): () => void {
    return this.#parts.accessLog.tail(options, onLine);
  }

  authz(): AuthzStatus {
    return { enforced: this.#parts.dataplane.settings.authzOff === 0 };
  }

  setAuthz(enforced: boolean): void {
    if (enforced === this.authz().enforced) return;
    this.#parts.dataplane.changeSettings({ authzOff: enforced ? 0 : 1 });
    const what = enforced ? "authorization is enforced again" : "authorization is NOT enforced any more";
    this.#tellSwitch("authz", enforced, what);
    if (enforced) this.#parts.reconciler.judgeAgain();
    const log = this.#parts.logs.logger("admin");
    if (enforced) log.warn("authorization is enforced again");
    else
      log.error(
        "authorization is NOT enforced any more: every connection to every pod of this node is allowed",
      );
  }

  #tellSwitch(subject: string, isOn: boolean, text: string): void {
    this.#parts.journal.tell({ type: "switch", subject, what: isOn ? "on" : "off", text });
  }

  authzOf(namespace: string, name: string): Result<AuthzPolicies> {
    return authzOf(this.#parts, namespace, name);
  }

  explainAuthz(ends: Ends): Result<AuthzExplanation> {
    return explainAuthz(this.#parts, ends);
  }

  explainRoute(asked: RouteRequest): Promise<Result<RouteExplanation>> {
    return this.#parts.reconciler.inTurn(() => explainRoute(this.#parts, asked));
  }

  /** One after the other: each has maps of its own. */
  tryAuthz(asked: TrialRequest): Promise<Result<AuthzTrial>> {
    const trial = this.#trials.then(() => tryAuthz(this.#parts, asked));
    this.#trials = trial.catch(() => undefined);
    return trial;
  }

  pods(): PodResponse[] {
    return this.#parts.pods.all.map((pod) => podOf(this.#parts, pod));
  }

  ungoverned() {
    return ungovernedPods(this.#parts);
  }

  async enroll(pod: EnrollRequest): Promise<Result<PodResponse>> {
    if (this.#parts.config.kubernetes) return failed(podsOfKubernetes());
    const enrolled = await this.#parts.pods.enroll(pod);
    if (!enrolled.ok) return enrolled;
    return ok(podOf(this.#parts, { ...enrolled.value, state: "enrolled", error: undefined }));
  }

  async unenroll(namespace: string, name: string): Promise<Result<void>> {
    if (this.#parts.config.kubernetes) return failed(podsOfKubernetes());
    return this.#parts.pods.unenroll(namespace, name);
  }
}
