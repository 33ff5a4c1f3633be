// Owns the mesh that the datapath bench runs in. Must not know what is measured.

/** One service on `vip` with one endpoint, guarded by an ALLOW policy that looks at every dimension. */
export function meshYaml(vip: string, ports: Readonly<Record<string, number>>): string {
  const list = Object.values(ports).join(", ");
  return `workloads:
  - name: client
    namespace: mesh
    serviceAccount: client
    addresses: [10.77.0.11]
  - name: server
    namespace: mesh
    serviceAccount: server
    addresses: [10.77.0.12]
    services: [mesh/server.mesh.svc.cluster.local]
services:
  - name: server
    namespace: mesh
    addresses: [${vip}]
    ports: [${list}]
policies:
  - name: clients-only
    namespace: mesh
    scope: NAMESPACE
    action: ALLOW
    rules:
      - - - principals: [cluster.local/ns/mesh/sa/client]
            sourceIps: [10.77.0.0/24]
            destinationPorts: [${list}]
`;
}
