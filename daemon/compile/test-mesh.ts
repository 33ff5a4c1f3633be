// Owns a small mesh for specs: store, compiler and a model of the kernel's maps, joined as the daemon joins them.
// Must not know what the maps ought to hold.

import { createStore } from "../model/store.js";
import type { Update } from "../model/update.js";
import { principalOf } from "./authz/identity.js";
import { type Compilation, type Compiler, type CompilerOptions, createCompiler } from "./compiler.js";
import type { MapOperation } from "./operation.js";
import { TestMaps } from "./test-maps.js";
import { type LogicalView, logicalView } from "./view.js";

export interface TestMesh {
  readonly compiler: Compiler;
  readonly kernel: TestMaps;
  /** No policy is held beyond it, unless `holdsOver` says otherwise. */
  push(update: Update): Compilation;
  apply(operations: readonly MapOperation[]): void;
  view(): LogicalView;
  /** `address/prefix:port` -> what it says: reason, or backends as `address:port share`. */
  frontends(): Record<string, string>;
}

/** An empty mesh, seen from `node-a` unless the options say otherwise. */
export function createMesh(options: CompilerOptions = { node: "node-a" }): TestMesh {
  const store = createStore();
  const compiler = createCompiler(options);
  const kernel = new TestMaps();
  const view = (): LogicalView => {
    const identities = [...compiler.authz.identities()].map((who) => [who.number, principalOf(who)] as const);
    return logicalView(kernel.entries(), new Map(identities));
  };
  return {
    compiler,
    kernel,
    view,
    push(update) {
      const compilation = compiler.compile(
        store.apply({ holdsOver: Number.POSITIVE_INFINITY, ...update }),
        store,
      );
      kernel.apply(compilation.operations);
      return compilation;
    },
    apply: (operations) => kernel.apply(operations),
    frontends() {
      const entries = Object.entries(view().frontends).map(([key, { service, backends, reason }]) => {
        const shares = backends.map((backend) => backend.replace(/ \d+ (0|1)\.(\d\d)\d+$/, " $1.$2"));
        const name = compiler.names.service(service)?.name ?? "?";
        return [key, `${name} ${shares.length > 0 ? shares.join() : `refuses ${reason}`}`];
      });
      return Object.fromEntries(entries);
    },
  };
}
