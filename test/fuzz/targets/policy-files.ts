// Owns what is claimed of a file of policies: it is read, or refused by the places of what is wrong, and what is read is
// taken by the daemon.

import { readPolicies } from "../../../cmd/weftctl/policy-file.js";
import { trialRequest } from "../../../daemon/admin/api.js";
import { policyOf } from "../../../daemon/model/policy-words.js";
import { claim, type Target } from "../target.js";

const MANIFEST = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: b, annotations: {istio.io/dry-run: "true"}}
spec:
  action: DENY
  selector: {matchLabels: {app: a}}
  rules:
    - from: [{source: {ipBlocks: [10.0.0.0/8], notPrincipals: ["*"], namespaces: ["a*", "*a", a]}}]
      to: [{operation: {ports: ["80"], notPorts: [x], paths: [/]}}]
      when: [{key: destination.ip, values: ["fd00::1"]}, {key: source.serviceAccount, notValues: [a/b]}]
---
`;
const WORDS = `policies:
  - {name: a, scope: GLOBAL, workloads: [a], dryRun: true, rules: [{}, {clauses: [[{sourceIps: [10.0.0.1]}, {}], []]}]}
  - {name: b, action: DENY, rules: [{serviceAccounts: [a, b/c], notDestinationPorts: [80]}]}
`;

export const target: Target = {
  maxBytes: 4096,
  seeds: () => [MANIFEST, WORDS, MANIFEST + WORDS].map((text) => Buffer.from(text)),
  run(input) {
    const read = readPolicies(Buffer.from(input).toString(), "f");
    if ("problems" in read) {
      claim(read.problems.length > 0, "refused without a reason");
      return;
    }
    const taken = trialRequest.safeParse({ policies: read.policies, removed: [] });
    claim(taken.success, `the daemon refuses what was read: ${taken.error?.message}`);
    for (const words of taken.data.policies) policyOf(words, "istio-system");
  },
};
