// Owns what every source says of a key: a value, and where it stands. Must not know any source.

export interface Given {
  readonly value: unknown;
  /** Such as `flag --node-name` or `/etc/weft.yaml:3`. */
  readonly source: string;
}
