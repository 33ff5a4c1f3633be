// Owns what is claimed of the authorization compiler: whatever policies, pods and changes come, the tables say what the
// policies mean, and nothing is left behind. An input is what a generator of meshes is decided by.

import fc from "fast-check";
import { VERDICT_MAPS } from "../../../daemon/compile/authz/contract.js";
import {
  allPods,
  enrol,
  policies,
  probe,
  probesTo,
  stepArbitrary,
  take,
} from "../../../daemon/compile/authz/test-arbitraries.js";
import { TestKernel } from "../../../daemon/compile/authz/test-kernel.js";
import { TestMesh } from "../../../daemon/compile/authz/test-mesh.js";
import { claim, type Target } from "../target.js";

const PODS = [1, 2, 3];
const steps = fc.array(stepArbitrary, { maxLength: 4 });
const probes = fc.array(probe(PODS), { maxLength: 20 });
const everywhere = probesTo([1, 2]);

/** Says what the bytes say, one for each number, and then numbers of its own. */
class ByteRandom {
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  clone(): ByteRandom {
    return new ByteRandom(this.#bytes, this.#at);
  }

  next(): number {
    const index = this.#at++;
    return Math.imul((this.#bytes[index] ?? index) + 1, 0x9e3779b1);
  }

  getState(): readonly number[] {
    return [this.#at];
  }
}

export const target: Target = {
  maxBytes: 1024,
  seeds: () => [],
  run(input) {
    const random = new fc.Random(new ByteRandom(input));
    const of = <T>(arbitrary: fc.Arbitrary<T>): T => arbitrary.generate(random, undefined).value;
    const mesh = new TestMesh();
    enrol(mesh, "pod-1", "pod-2", "pod-3");
    mesh.update({ workloads: of(allPods), policies: of(policies), policiesSynced: true });
    checkVerdicts(mesh, everywhere);
    for (const step of of(steps)) {
      take(mesh, step);
      checkVerdicts(mesh, of(probes));
    }
    checkEntries(mesh);
  },
};

function checkVerdicts(mesh: TestMesh, asked: typeof everywhere): void {
  for (const { uid, ...connection } of asked) {
    const tables = JSON.stringify(mesh.kernelDecision(uid, connection));
    const meant = JSON.stringify(mesh.reference(uid, connection));
    claim(tables === meant, `${uid} ${JSON.stringify(connection)}: tables ${tables}, policies ${meant}`);
  }
}

function checkEntries(mesh: TestMesh): void {
  const fresh = new TestKernel();
  fresh.apply(mesh.compiler.snapshot());
  const [held, wanted] = [mesh.kernel, fresh].map((kernel) => kernel.dump(VERDICT_MAPS).join("\n"));
  claim(held === wanted, "the maps are not those of a snapshot");
  mesh.unenrolAll();
  mesh.update({ removedAddresses: [...mesh.store.workloads.keys()] });
  for (const map of VERDICT_MAPS) claim(mesh.kernel.count(map) === 0, `${map} is not empty at the end`);
}
