// Owns how weft stands in a CNI network configuration: the last plugin of the list. Must not know files.

/** A plugin's entry, or a whole configuration: keys that weft does not know are kept. */
export type CniObject = Readonly<Record<string, unknown>>;

/** Name of the binary, by which the runtime finds it and weft finds its entry. */
export const PLUGIN = "weft-cni";

/** What the plugin is told. */
export interface PluginEntry {
  readonly type: typeof PLUGIN;
  readonly socket: string;
  readonly failOpen: boolean;
}

/**
 * The list with weft's entry at its end, as containers' runtimes read it (CNI 1.1, section 1). A configuration of one
 * plugin becomes a list. undefined: it is neither, and its text is nobody's business here.
 */
export function withPlugin(config: unknown, entry: PluginEntry): CniObject | undefined {
  if (!isObject(config)) return undefined;
  if (Array.isArray(config.plugins)) return { ...config, plugins: [...others(config.plugins), entry] };
  if (typeof config.type !== "string") return undefined;
  const { cniVersion, name, ...plugin } = config;
  return { cniVersion: cniVersion ?? "0.3.1", name: name ?? "network", plugins: [plugin, entry] };
}

/** The list without it. */
export function withoutPlugin(config: unknown): CniObject | undefined {
  if (!isObject(config) || !Array.isArray(config.plugins)) return undefined;
  return { ...config, plugins: others(config.plugins) };
}

/** Entries of a list, or the one of a plain configuration; none of what is neither. */
export function pluginsOf(config: unknown): CniObject[] {
  if (!isObject(config)) return [];
  return Array.isArray(config.plugins) ? config.plugins.filter(isObject) : [config];
}

/** Whether it has an entry of weft's, be it of another version. */
export function hasPlugin(config: unknown): boolean {
  return isObject(config) && Array.isArray(config.plugins) && config.plugins.some(isOurs);
}

function others(plugins: readonly unknown[]): unknown[] {
  return plugins.filter((plugin) => !isOurs(plugin));
}

function isOurs(plugin: unknown): boolean {
  return isObject(plugin) && plugin.type === PLUGIN;
}

function isObject(value: unknown): value is CniObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
