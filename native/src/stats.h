// Owns StatsHandle: run-time statistics of all programs, on while it is open.
// Must not know who reads them.

#ifndef WEFT_NATIVE_STATS_H
#define WEFT_NATIVE_STATS_H

#include <napi.h>
#include "fd.h"
#include "handle.h"

struct StatsState {
  Fd fd;
};

class Stats : public Handle<Stats, StatsState> {
public:
  static constexpr HandleClass kClass = kStats;
  static constexpr const char *kName = "StatsHandle";
  static constexpr napi_type_tag kTag = {0x77656674f0a94d06, 0x3e97a5d08b1c4266};

  static void Define(Napi::Env env);
  /** enableStats() */
  static Napi::Value Enable(const Napi::CallbackInfo &info);

  explicit Stats(const Napi::CallbackInfo &info);

private:
  Napi::Value Close(const Napi::CallbackInfo &info);
};

#endif
