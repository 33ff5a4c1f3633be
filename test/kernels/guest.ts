// Owns a guest: another kernel in QEMU, with this machine's root file system beneath a tmpfs and no network.
// Must not know what runs in it.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { packageRoot } from "../../daemon/base/package-root.js";
import type { Lab } from "../../lab/lab.js";
import { until } from "../../lab/wait.js";

export interface GuestOptions {
  /** A directory that unpack-kernel.sh has made. */
  readonly kernel: string;
  /** Lines of bash, run as root in the package's directory; what they write to $OUT stays. */
  readonly script: string;
  /** Made anew: what the guest writes to $OUT, and its `log`, `console` and `dmesg`. */
  readonly out: string;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  /** Receives what the script prints, as it comes. */
  readonly onOutput?: (text: string) => void;
}

const virtiofsd = "/usr/lib/qemu/virtiofsd";

/**
 * Boots a kernel, runs a script in it, switches it off. Returns the script's exit code; throws with the end of
 * the console when there is none: a panic, or the time was over. All processes are the lab's and end with it.
 */
export async function runInGuest(lab: Lab, options: GuestOptions): Promise<number> {
  const { out, kernel, script, timeoutMs, onOutput } = options;
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const root = packageRoot();
  const lines = ["export OUT=/mnt/out", `export PATH='${process.env.PATH}'`, `cd '${root}'`, script];
  writeFileSync(join(out, "command"), `${lines.join("\n")}\n`);
  const sockets = join(lab.directory, `guest-${guests++}`);
  mkdirSync(sockets);
  // A virtiofsd serves one boot and ends with it. Nobody changes the root's files meanwhile, or the guest may
  // see old ones.
  await shareDirectory(lab, join(sockets, "root"), "/", "always");
  await shareDirectory(lab, join(sockets, "out"), resolve(out), "auto");
  const qemu = lab.spawnDaemon(qemuCommand(resolve(kernel), sockets, resolve(out), options.memoryMiB), {
    logFile: join(out, "qemu"),
  });
  const timer = setTimeout(() => qemu.kill("SIGKILL"), timeoutMs);
  const follower = onOutput && follow(join(out, "log"), onOutput);
  await qemu.exited;
  clearTimeout(timer);
  follower?.();
  const status = join(out, "status");
  if (existsSync(status)) return Number(readFileSync(status, "utf8"));
  const console = ["qemu", "console"].map((name) => lastLines(join(out, name), 20)).join("\n");
  throw new Error(
    `${kernel}: the guest ended without a result (panic, or ${timeoutMs} ms over):\n${console}`,
  );
}

let guests = 0;

async function shareDirectory(lab: Lab, socket: string, source: string, cache: string): Promise<void> {
  const options = ["-o", `source=${source},sandbox=chroot,cache=${cache}`, "-o", "log_level=err"];
  lab.spawnDaemon([virtiofsd, `--socket-path=${socket}`, ...options], { logFile: `${socket}.log` });
  await until(`virtiofsd serving ${source}`, () => existsSync(socket));
}

/**
 * Software emulation, also where /dev/kvm is there: a machine that is a guest itself may have one that cannot
 * run these kernels, and no test depends on speed.
 */
function qemuCommand(kernel: string, sockets: string, out: string, memoryMiB: number): string[] {
  const share = (tag: string, queue: number) => [
    ...["-chardev", `socket,id=${tag},path=${join(sockets, tag)}`],
    ...["-device", `vhost-user-fs-pci,queue-size=${queue},chardev=${tag},tag=${tag}`],
  ];
  const parameters = [
    "console=ttyS0 quiet loglevel=4 panic=-1 audit=0",
    // What costs time and shows nothing here: entropy, address randomization, clocks that software emulates.
    "mitigations=off nokaslr no5lvl tsc=reliable random.trust_cpu=on",
    // On a loaded machine the timer's first ticks come late, and the kernel would end for that.
    "no_timer_check",
    // Debian compiles BPF LSM in and leaves it out of the default list.
    "lsm=capability,bpf",
    `guest=${join(packageRoot(), "test", "kernels", "guest.sh")} modules=${join(kernel, "modules")}`,
  ];
  return [
    "qemu-system-x86_64",
    ...["-M", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off", "-smp", "2"],
    // virtiofs needs memory that its daemon can map too.
    ...["-m", `${memoryMiB}M`, "-object", `memory-backend-memfd,id=mem,size=${memoryMiB}M,share=on`],
    ...["-numa", "node,memdev=mem"],
    ...["-kernel", join(kernel, "vmlinuz"), "-initrd", join(kernel, "initramfs.gz")],
    ...["-append", parameters.join(" ")],
    ...share("root", 1024),
    ...share("out", 256),
    ...["-nic", "none", "-display", "none", "-monitor", "none", "-no-reboot"],
    ...["-serial", `file:${join(out, "console")}`],
  ];
}

/** Hands on what is appended to a file until the returned function is called, which hands on the rest. */
function follow(file: string, onOutput: (text: string) => void): () => void {
  let seen = 0;
  const look = () => {
    if (!existsSync(file)) return;
    const bytes = readFileSync(file);
    if (bytes.length > seen) onOutput(bytes.subarray(seen).toString());
    seen = bytes.length;
  };
  const timer = setInterval(look, 500);
  return () => {
    clearInterval(timer);
    look();
  };
}

function lastLines(file: string, count: number): string {
  return existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n").slice(-count).join("\n") : "";
}
