// Owns the plugin's place on the node: its binary, and its entry in the list that the runtime takes.
// Must not know what the plugin does.

import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { messageOf } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { hasPlugin, PLUGIN, type PluginEntry, withoutPlugin, withPlugin } from "./cni-config.js";

/** Milliseconds between two looks for what no event told of. */
const LOOK_MS = 10_000;

/** The list that weft makes of a configuration of one plugin; sorts before it. */
const OWN_PREFIX = "00-weft-";

/** Where plugins and their configurations lie on the node. */
export interface CniPlaces {
  /** Such as /opt/cni/bin. */
  readonly binDir: string;
  /** Such as /etc/cni/net.d. */
  readonly confDir: string;
}

export interface CniInstallOptions extends CniPlaces {
  /** The plugin as it was built. */
  readonly binary: string;
  readonly entry: PluginEntry;
  readonly log: Logger;
}

/** Puts the plugin in place and keeps it there, whoever rewrites the list. */
export class CniInstall {
  readonly #options: CniInstallOptions;
  #trouble: string | undefined;
  /** Of the binary in its place when it was found to be the one wanted. */
  #compared: string | undefined;

  constructor(options: CniInstallOptions) {
    this.#options = options;
  }

  /** Why new pods may start ungoverned; undefined while the plugin is in its place. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Begins; gives what ends the keeping. The plugin stays. */
  start(): () => void {
    this.look();
    const timer = setInterval(() => this.look(), LOOK_MS);
    let watcher: ReturnType<typeof watch> | undefined;
    try {
      watcher = watch(this.#options.confDir, () => this.look());
      // A directory that goes away: the timer sees the next one.
      watcher.on("error", () => watcher?.close());
    } catch {
      // It is not there yet: the timer sees it come.
    }
    return () => {
      clearInterval(timer);
      watcher?.close();
    };
  }

  /** Puts right what is not. */
  look(): void {
    const before = this.#trouble;
    try {
      this.#putBinary();
      this.#trouble = this.#putEntry();
    } catch (error) {
      this.#trouble = `the CNI plugin cannot be put in place: ${messageOf(error)}`;
    }
    if (this.#trouble !== undefined && this.#trouble !== before) this.#options.log.warn(this.#trouble);
  }

  #putBinary(): void {
    const { binary, binDir } = this.#options;
    const place = join(binDir, PLUGIN);
    const before = stampOf(place);
    if (before !== undefined && before === this.#compared) return;
    this.#compared = undefined;
    if (before !== undefined && readFileSync(place).equals(readFileSync(binary))) {
      this.#compared = before;
      return;
    }
    mkdirSync(binDir, { recursive: true });
    // By rename: the runtime may be running the old one, and must never run half of the new one.
    const next = join(binDir, `.${PLUGIN}.next`);
    copyFileSync(binary, next);
    chmodSync(next, 0o755);
    renameSync(next, place);
  }

  #putEntry(): string | undefined {
    const { confDir, entry, log } = this.#options;
    const file = configsIn(confDir).find((name) => !name.startsWith(OWN_PREFIX));
    if (file === undefined)
      return `no CNI configuration in ${confDir} yet: pods get no network until one comes`;
    const wanted = withPlugin(readJson(join(confDir, file)), entry);
    if (wanted === undefined)
      return `the CNI configuration ${join(confDir, file)} is neither a plugin nor a list of plugins`;
    const target = join(confDir, file.endsWith(".conflist") ? file : ownListOf(file));
    if (isDeepStrictEqual(readJson(target), wanted)) return undefined;
    writeJson(target, wanted);
    log.info(
      { path: target },
      "the CNI plugin is the last of the list: new pods are governed before they run",
    );
    return undefined;
  }
}

/** What changes with whatever is written to a file, or put in its place; undefined: nothing is there. */
function stampOf(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat && [stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(" ");
}

function ownListOf(file: string): string {
  return `${OWN_PREFIX}${file.replace(/\.[a-z]+$/, "")}.conflist`;
}

/** Takes the plugin away from every list, and its binary. Idempotent. @throws what the file system says. */
export function removeCni({ binDir, confDir }: CniPlaces): void {
  for (const file of configsIn(confDir)) {
    const path = join(confDir, file);
    if (file.startsWith(OWN_PREFIX)) {
      rmSync(path, { force: true });
      continue;
    }
    const config = readJson(path);
    const without = hasPlugin(config) ? withoutPlugin(config) : undefined;
    if (without !== undefined) writeJson(path, without);
  }
  // After the lists: a runtime that finds no binary for an entry refuses every pod.
  rmSync(join(binDir, PLUGIN), { force: true });
}

/** Every configuration of a directory; `config` is undefined where a file is no JSON. */
export function readConfigs(confDir: string): { path: string; config: unknown }[] {
  return configsIn(confDir).map((file) => {
    const path = join(confDir, file);
    return { path, config: readJson(path) };
  });
}

/** As runtimes order them: the first one counts. */
function configsIn(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => /\.(conflist|conf|json)$/.test(name))
    .sort();
}

/** undefined: no JSON. */
function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

function writeJson(path: string, value: unknown): void {
  // No name that a runtime would read.
  const next = `${path}.weft-next`;
  writeFileSync(next, `${JSON.stringify(value, undefined, 2)}\n`);
  renameSync(next, path);
}
