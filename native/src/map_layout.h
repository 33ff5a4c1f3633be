// Owns what the kernel's type information says of a map's keys and values. Must not know what they
// mean.

#ifndef WEFT_NATIVE_MAP_LAYOUT_H
#define WEFT_NATIVE_MAP_LAYOUT_H

#include <linux/bpf.h>
#include <napi.h>

/**
 * `{ key, value }`, each the fields of a struct as `{ name, offset, size }` in bytes, or one field
 * without a name of what is no struct. undefined where the map was made without type information.
 * BpfError where it cannot be read.
 */
Napi::Value MapLayout(Napi::Env env, const bpf_map_info &info, const std::string &what);

#endif
