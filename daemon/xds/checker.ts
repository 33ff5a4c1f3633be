// Owns how a received resource is judged: what is wrong with it, collected as values.
// Must not know the shape of any one resource.

import { addressFromBytes, blockFromBytes } from "../model/address.js";
import type { AddressBlock } from "../model/policy.js";

/** Class of a fault; the label `reason` of the metric that counts rejected resources. Append only. */
export type FaultCode = "malformed" | "name" | "address" | "port" | "enum" | "missing" | "apply";

/** A resource as the model wants it, or why it cannot be. */
export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: FaultCode; readonly reason: string };

/** The number -> name half of a generated enum. */
type EnumNames = { readonly [value: number]: string };
type NameOf<E> = Extract<keyof E, string>;

/** Faults beyond this many are not told: one is enough to reject. */
const MAX_FAULTS = 4;
const MAX_PORT = 65_535;

/**
 * Collects faults while a resource is turned into the model's type. Every method gives back something usable, so
 * that decoders read as plain assignments; what they built counts only if result() says so. `path` is the field's
 * name as in the wire contract.
 */
export class Checker {
  #code: FaultCode | undefined;
  #faults: string[] | undefined;
  #found = 0;

  fail(code: FaultCode, fault: string): void {
    this.#code ??= code;
    this.#found++;
    this.#faults ??= [];
    if (this.#faults.length < MAX_FAULTS) this.#faults.push(fault);
  }

  /** The value if nothing was found, else the faults. */
  result<T>(value: T): Decoded<T> {
    if (this.#code === undefined) return { ok: true, value };
    return { ok: false, code: this.#code, reason: this.#faults?.join(", ") ?? "" };
  }

  /** What `decode` gives, `undefined` when it found a fault. */
  sound<T>(decode: () => T): T | undefined {
    const before = this.#found;
    const value = decode();
    return this.#found === before ? value : undefined;
  }

  /** A resource must be called what its content says. */
  resourceName(name: string, own: string, path: string): void {
    if (own !== name) this.fail("name", `${path} is ${JSON.stringify(own)}, not the resource's name`);
  }

  /** 0-65535. */
  port(value: number, path: string): number {
    if (value > MAX_PORT) this.fail("port", `${path} is ${value}, above ${MAX_PORT}`);
    return value;
  }

  /** 1-65535: 0 stands for nothing that could be connected to. */
  servicePort(value: number, path: string): number {
    if (value === 0) this.fail("port", `${path} is 0`);
    return this.port(value, path);
  }

  /** Canonical text of 4 or 16 bytes. */
  address(bytes: Uint8Array, path: string): string {
    const text = addressFromBytes(bytes);
    if (text === undefined) this.fail("address", `${path} has ${bytes.length} bytes instead of 4 or 16`);
    return text ?? "";
  }

  block(bytes: Uint8Array, prefixLength: number, path: string): AddressBlock {
    const block = blockFromBytes(bytes, prefixLength);
    if (block !== undefined) return block;
    // Tells a wrong length of the address from one of the prefix.
    const address = this.address(bytes, path);
    if (address !== "") this.fail("address", `${path} ${address} has a prefix of ${prefixLength} bits`);
    return { address, prefixLength };
  }

  /** The name of an enum's value. `names` is the generated enum itself. */
  enum<E extends EnumNames>(names: E, value: number, path: string): NameOf<E> {
    const name = names[value];
    if (name === undefined) this.fail("enum", `${path} has the unknown value ${value}`);
    return name as NameOf<E>;
  }
}
