// Owns the mesh that the datapath bench runs in. Must not know what is measured.

/** One service on `vip` with one endpoint, guarded by an ALLOW policy that looks at every dimension. */
export function meshYaml(vip: string, ports: readonly number[]): string {
  return `workloads:
  - { name: client, namespace: mesh, serviceAccount: client, addresses: [10.77.0.11] }
  - { name: server, namespace: mesh, serviceAccount: server, addresses: [10.77.0.12] }
services:
  - name: server
    namespace: mesh
    vips: [${vip}]
    ports: { ${ports.map((port) => `${port}: ${port}`).join(", ")} }
    endpoints: [server]
policies:
  - name: clients-only
    namespace: mesh
    action: ALLOW
    rules:
      - principals: [cluster.local/ns/mesh/sa/client]
        sourceIps: [10.77.0.0/24]
        destinationPorts: [${ports.join(", ")}]
`;
}
