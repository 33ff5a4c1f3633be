// Owns the real servers that stand in the demo's pods. Must not know the mesh.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Lab, Pod } from "../../lab/lab.js";

/** Starts an nginx that answers every request with its pod's name, one connection a request. */
export async function startWeb(lab: Lab, pod: Pod, port: number): Promise<void> {
  const name = pod.name.split("/")[1] ?? pod.name;
  const directory = join(lab.directory, "nginx", name);
  mkdirSync(directory, { recursive: true });
  const file = join(directory, "nginx.conf");
  writeFileSync(file, nginxConf(directory, name, port));
  const server = await lab.spawn(
    pod,
    ["nginx", "-c", file, "-p", directory, "-e", join(directory, "error.log")],
    {
      port,
      logFile: join(directory, "output.log"),
    },
  );
  server.unref();
}

/** keepalive_timeout 0: each request of the demo is a connection, and so a decision of its own. */
function nginxConf(directory: string, name: string, port: number): string {
  return `daemon off;
user root;
worker_processes 1;
pid ${directory}/nginx.pid;
events { worker_connections 512; }
http {
  access_log off;
  keepalive_timeout 0;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  server {
    listen ${port};
    listen [::]:${port};
    default_type text/plain;
    location / { return 200 "${name}\\n"; }
  }
}
`;
}

/** Starts a dnsmasq that knows exactly these names. */
export async function startDns(lab: Lab, pod: Pod, names: ReadonlyMap<string, string>): Promise<void> {
  const records = [...names].map(([name, address]) => `--address=/${name}/${address}`);
  const flags = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root"];
  const server = await lab.spawn(
    pod,
    ["dnsmasq", ...flags, `--pid-file=${lab.directory}/dns.pid`, ...records],
    {
      port: 53,
      protocol: "udp",
      logFile: join(lab.directory, "dnsmasq.log"),
    },
  );
  server.unref();
}
