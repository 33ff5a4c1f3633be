// Owns talking to a container runtime as the kubelet does: the part of CRI v1 that makes and ends pods.
// Must not know what the pods are for.

import { type Client, credentials, makeGenericClientConstructor } from "@grpc/grpc-js";
import protobuf from "protobufjs";

/** Of k8s.io/cri-api, pkg/apis/runtime/v1/api.proto. */
const PROTO = `
syntax = "proto3";
package runtime.v1;
enum NamespaceMode { POD = 0; CONTAINER = 1; NODE = 2; TARGET = 3; }
enum MountPropagation { PRIVATE = 0; HOST_TO_CONTAINER = 1; BIDIRECTIONAL = 2; }
message SandboxMetadata { string name = 1; string uid = 2; string namespace = 3; uint32 attempt = 4; }
message NamespaceOption { NamespaceMode network = 1; NamespaceMode pid = 2; NamespaceMode ipc = 3; }
message SandboxSecurity { NamespaceOption namespace_options = 1; }
message LinuxSandbox { string cgroup_parent = 1; SandboxSecurity security_context = 2; }
message Sandbox { SandboxMetadata metadata = 1; string hostname = 2; string log_directory = 3; LinuxSandbox linux = 8; }
message RunPodSandbox { Sandbox config = 1; }
message PodSandboxId { string pod_sandbox_id = 1; }
message Network { string ip = 1; }
message Status { Network network = 5; }
message PodSandboxStatus { Status status = 1; }
message ContainerMetadata { string name = 1; uint32 attempt = 2; }
message Image { string image = 1; }
message KeyValue { string key = 1; string value = 2; }
message Mount { string container_path = 1; string host_path = 2; bool readonly = 3; MountPropagation propagation = 5; }
message Capability { repeated string add_capabilities = 1; repeated string drop_capabilities = 2; }
message ContainerSecurity { Capability capabilities = 1; NamespaceOption namespace_options = 3; bool readonly_rootfs = 7;
  bool no_new_privs = 11; }
message LinuxContainer { ContainerSecurity security_context = 2; }
message Container { ContainerMetadata metadata = 1; Image image = 2; repeated string command = 3;
  repeated string args = 4; repeated KeyValue envs = 6; repeated Mount mounts = 7; string log_path = 11;
  LinuxContainer linux = 15; }
message CreateContainer { string pod_sandbox_id = 1; Container config = 2; Sandbox sandbox_config = 3; }
message ContainerId { string container_id = 1; }
message StopContainer { string container_id = 1; int64 timeout = 2; }
message ExecSync { string container_id = 1; repeated string cmd = 2; int64 timeout = 3; }
message Executed { bytes stdout = 1; bytes stderr = 2; int32 exit_code = 3; }
message Empty {}
`;

const types = protobuf.parse(PROTO, { keepCase: false }).root.lookup("runtime.v1") as protobuf.Namespace;

/** Method: what it takes, what it gives. */
const METHODS = {
  RunPodSandbox: ["RunPodSandbox", "PodSandboxId"],
  StopPodSandbox: ["PodSandboxId", "Empty"],
  RemovePodSandbox: ["PodSandboxId", "Empty"],
  PodSandboxStatus: ["PodSandboxId", "PodSandboxStatus"],
  CreateContainer: ["CreateContainer", "ContainerId"],
  StartContainer: ["ContainerId", "Empty"],
  StopContainer: ["StopContainer", "Empty"],
  ExecSync: ["ExecSync", "Executed"],
} as const;
type Method = keyof typeof METHODS;

/** Milliseconds that an answer may take. */
const ANSWER_MS = 120_000;

const service = Object.fromEntries(
  Object.entries(METHODS).map(([method, [takes, gives]]) => {
    const [request, response] = [types.lookupType(takes), types.lookupType(gives)];
    const encode = (type: protobuf.Type) => (value: object) =>
      Buffer.from(type.encode(type.fromObject(value)).finish());
    const decode = (type: protobuf.Type) => (bytes: Buffer) => type.toObject(type.decode(bytes)) as object;
    return [
      method,
      {
        ...{ path: `/runtime.v1.RuntimeService/${method}`, requestStream: false, responseStream: false },
        ...{ requestSerialize: encode(request), requestDeserialize: decode(request) },
        ...{ responseSerialize: encode(response), responseDeserialize: decode(response) },
      },
    ];
  }),
);
const RuntimeClient = makeGenericClientConstructor(service, "RuntimeService");

type Call = (
  request: object,
  options: { deadline: number },
  done: (error: Error | null, answer: unknown) => void,
) => void;

/** What a pod consists of; the rest is as a kubelet fills it in. */
export interface PodSpec {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** On the node's network, with the node's processes. */
  readonly onNode?: boolean;
  /** Path in the container: path on the node. */
  readonly mounts?: Readonly<Record<string, string>>;
  readonly readonlyMounts?: Readonly<Record<string, string>>;
  /** All others are dropped, and the root file system is read-only. */
  readonly capabilities?: readonly string[];
  /** Where the log of its container goes: a directory of the node. */
  readonly logs: string;
}

export interface RunningPod {
  readonly sandbox: string;
  readonly container: string;
  /** Empty on the node's network. */
  readonly ip: string;
}

export class ContainerRuntime {
  readonly #client: Client;

  /** `socket` is a path. */
  constructor(socket: string) {
    this.#client = new RuntimeClient(`unix:${socket}`, credentials.createInsecure()) as unknown as Client;
  }

  close(): void {
    this.#client.close();
  }

  /** Makes a pod and starts its container. Rejects with what the runtime says. */
  async run(pod: PodSpec): Promise<RunningPod> {
    const config = sandboxOf(pod);
    const { podSandboxId } = await this.#call<{ podSandboxId: string }>("RunPodSandbox", { config });
    const { status } = await this.#call<{ status: { network?: { ip?: string } } }>("PodSandboxStatus", {
      podSandboxId,
    });
    const { containerId } = await this.#call<{ containerId: string }>("CreateContainer", {
      podSandboxId,
      config: containerOf(pod),
      sandboxConfig: config,
    });
    await this.#call("StartContainer", { containerId });
    return { sandbox: podSandboxId, container: containerId, ip: status.network?.ip ?? "" };
  }

  /** Ends a pod at once and removes it. */
  async remove({ sandbox, container }: RunningPod): Promise<void> {
    await this.#call("StopContainer", { containerId: container, timeout: 0 });
    await this.#call("StopPodSandbox", { podSandboxId: sandbox });
    await this.#call("RemovePodSandbox", { podSandboxId: sandbox });
  }

  /** SIGTERM, and SIGKILL after `seconds`; at once where they are 0. */
  async stop({ container }: RunningPod, seconds: number): Promise<void> {
    await this.#call("StopContainer", { containerId: container, timeout: seconds });
  }

  /** Runs a command in a pod's container; gives its standard output, rejects when it fails. */
  async exec({ container }: RunningPod, cmd: readonly string[]): Promise<string> {
    const ran = await this.#call<{ stdout?: Uint8Array; stderr?: Uint8Array; exitCode?: number }>(
      "ExecSync",
      {
        ...{ containerId: container, cmd, timeout: 60 },
      },
    );
    const text = (bytes?: Uint8Array) => Buffer.from(bytes ?? []).toString("utf8");
    if ((ran.exitCode ?? 0) !== 0)
      throw new Error(`${cmd.join(" ")}: exit ${ran.exitCode}: ${text(ran.stderr)}`);
    return text(ran.stdout);
  }

  #call<T = object>(method: Method, request: object): Promise<T> {
    const calls = this.#client as unknown as Record<Method, Call>;
    return new Promise((resolve, reject) => {
      calls[method](request, { deadline: Date.now() + ANSWER_MS }, (error, answer) => {
        if (error === null) resolve(answer as T);
        else reject(error);
      });
    });
  }
}

const NODE = { network: "NODE", pid: "NODE", ipc: "POD" };
const POD = { network: "POD", pid: "CONTAINER", ipc: "POD" };

function sandboxOf({ namespace, name, uid, logs, onNode = false }: PodSpec) {
  return {
    metadata: { name, uid, namespace, attempt: 0 },
    hostname: onNode ? "" : name,
    logDirectory: logs,
    // As the kubelet's cgroupfs driver has it.
    linux: {
      cgroupParent: `/kubepods/pod${uid}`,
      securityContext: { namespaceOptions: onNode ? NODE : POD },
    },
  };
}

function containerOf({ name, image, command = [], args = [], env = {}, ...pod }: PodSpec) {
  const mounts = (paths: Readonly<Record<string, string>> = {}, readonly = false) =>
    Object.entries(paths).map(([containerPath, hostPath]) => ({
      ...{ containerPath, hostPath, readonly, propagation: "HOST_TO_CONTAINER" },
    }));
  const bounds =
    pod.capabilities === undefined
      ? {}
      : {
          capabilities: { addCapabilities: pod.capabilities, dropCapabilities: ["ALL"] },
          ...{ readonlyRootfs: true, noNewPrivs: true },
        };
  return {
    metadata: { name, attempt: 0 },
    image: { image },
    ...{ command, args, logPath: `${name}.log` },
    envs: Object.entries(env).map(([key, value]) => ({ key, value })),
    mounts: [...mounts(pod.mounts), ...mounts(pod.readonlyMounts, true)],
    linux: { securityContext: { namespaceOptions: pod.onNode === true ? NODE : POD, ...bounds } },
  };
}
