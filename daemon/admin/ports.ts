// Owns the daemon's three ports: what each serves, to whom, and within what bounds.
// Must not know what any request answers.

import { failed, listenTwice, ok, type Result } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { OpenParts } from "../base/open-parts.js";
import { formatHostPort, type HostPort } from "../base/parse.js";
import type { Piece } from "../telemetry/exposition.js";
import type { OperatorView } from "./operator-view.js";
import { adminRoutes, metricsRoutes, readyRoutes } from "./routes.js";
import { type ListenOptions, listen, type Route } from "./server.js";

export interface PortsOptions {
  readonly adminAddress: HostPort;
  readonly metricsAddress: HostPort;
  readonly readyAddress: HostPort;
  readonly view: OperatorView;
  /** The page of metrics: one is made at a time, and given to all who ask meanwhile. */
  readonly page: () => AsyncIterable<Piece>;
  readonly log: Logger;
  /** Where each port is noted once it is open. */
  readonly open: OpenParts;
}

type PortName = "admin" | "metrics" | "ready";

interface Port {
  readonly name: PortName;
  readonly address: HostPort;
  readonly routes: readonly Route[];
  readonly limits: Omit<ListenOptions, "log">;
}

/** Whatever reaches the node reaches these two: neither many readers nor slow ones may cost the daemon much. */
const METRICS_LIMITS = { maxConnections: 16, answerWithin: 30_000 } as const;
const READY_LIMITS = { maxConnections: 64, answerWithin: 10_000 } as const;

/** Opens all three; gives HOST:PORT of each, as bound. When one fails those before it are open. */
export async function openPorts(options: PortsOptions): Promise<Result<Partial<Record<PortName, string>>>> {
  const { view, page, log, open } = options;
  const ports: readonly Port[] = [
    {
      name: "admin",
      address: options.adminAddress,
      routes: adminRoutes(view, log, page),
      limits: { localOnly: true },
    },
    {
      name: "metrics",
      address: options.metricsAddress,
      routes: metricsRoutes(page),
      limits: METRICS_LIMITS,
    },
    { name: "ready", address: options.readyAddress, routes: readyRoutes(view, log), limits: READY_LIMITS },
  ];
  const bound: Partial<Record<PortName, string>> = {};
  const names = new Map<number, PortName>();
  for (const { name, address, routes, limits } of ports) {
    const listener = await listen(name, address, routes, { ...limits, log });
    if (!listener.ok) {
      const other = listener.error.code === "ADDRESS_IN_USE" ? names.get(address.port) : undefined;
      return other === undefined ? listener : failed(listenTwice(name, formatHostPort(address), other));
    }
    open.add(() => listener.value.close());
    bound[name] = formatHostPort(listener.value.address);
    names.set(listener.value.address.port, name);
  }
  return ok(bound);
}
