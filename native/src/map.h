// Owns BpfMap: single and batch operations on one map. Must not know what keys and values mean.

#ifndef WEFT_NATIVE_MAP_H
#define WEFT_NATIVE_MAP_H

#include <linux/bpf.h>
#include <napi.h>
#include <optional>
#include <string>
#include <vector>
#include "arguments.h"
#include "fd.h"
#include "handle.h"

struct MapState {
  Fd fd;
  bpf_map_info info{};
};

class Map : public Handle<Map, MapState> {
public:
  static constexpr HandleClass kClass = kMap;
  static constexpr const char *kName = "BpfMap";
  static constexpr napi_type_tag kTag = {0x77656674f0a94d01, 0x9b1e5c7a2d604f11};

  static void Define(Napi::Env env);
  /** A handle of the map behind `fd`, which `what` names in errors. */
  static Napi::Value Open(Napi::Env env, Fd fd, const std::string &what);

  explicit Map(const Napi::CallbackInfo &info);

  /** The descriptor; -1 with BpfError EBADF pending when closed. */
  int RequireFd(Napi::Env env, const char *action) const;
  const bpf_map_info &info() const { return state_.info; }
  /** "map 'NAME'" */
  std::string Describe() const;

private:
  Napi::Value Lookup(const Napi::CallbackInfo &info);
  Napi::Value Update(const Napi::CallbackInfo &info);
  Napi::Value UpdateProgram(const Napi::CallbackInfo &info);
  Napi::Value Delete(const Napi::CallbackInfo &info);
  Napi::Value UpdateBatch(const Napi::CallbackInfo &info);
  Napi::Value DeleteBatch(const Napi::CallbackInfo &info);
  Napi::Value Entries(const Napi::CallbackInfo &info);
  Napi::Value Layout(const Napi::CallbackInfo &info);
  Napi::Value Pin(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);

  /** `count` keys or values laid end to end; nothing with a RangeError pending otherwise. */
  std::optional<Bytes> ReadItems(const Napi::Value &value, const char *name, size_t item_size,
                                 size_t count) const;

  size_t value_bytes_ = 0;
  std::vector<uint8_t> scratch_;
};

#endif
