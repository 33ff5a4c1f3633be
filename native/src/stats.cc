// Owns StatsHandle: run-time statistics of all programs, on while it is open.
// Must not know who reads them.

#include "stats.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <linux/bpf.h>

void Stats::Define(Napi::Env env) {
  Register<Stats>(env, {InstanceMethod<&Stats::Close>("close")});
}

Napi::Value Stats::Enable(const Napi::CallbackInfo &info) {
  Fd fd(bpf_enable_stats(BPF_STATS_RUN_TIME));
  if (!fd.valid())
    return ThrowBpfError(info.Env(), errno, "enable statistics of BPF programs");
  return Create(info.Env(), StatsState{std::move(fd)});
}

Stats::Stats(const Napi::CallbackInfo &info) : Handle(info) {}

Napi::Value Stats::Close(const Napi::CallbackInfo &info) {
  state_.fd.Close();
  return info.Env().Undefined();
}
