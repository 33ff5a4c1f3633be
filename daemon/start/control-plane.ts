// Owns how the configured control plane is spoken to. Must not know gRPC.

import { formatHostPort } from "../base/parse.js";
import type { Config } from "../config/schema.js";
import type { ControlPlane } from "../xds/transport.js";

/** Where istiod serves xDS over TLS. */
const ISTIOD_TLS_PORT = 15012;

/** TLS where it is asked for, or where nothing is said and the port is istiod's for TLS. */
export function controlPlaneOf(config: Config): ControlPlane {
  const { host, port } = config.xdsAddress;
  const address = formatHostPort(config.xdsAddress);
  if (!(config.xdsTls ?? port === ISTIOD_TLS_PORT)) return { address };
  return {
    address,
    tls: {
      rootCertFile: config.xdsRootCert,
      serverName: config.xdsServerName ?? host,
      tokenFile: config.xdsTokenFile,
    },
  };
}
