// Owns which CPUs this process's threads may run on. Must not know why they leave some alone.

#include "cpus.h"

#include <cerrno>
#include <cstdlib>
#include <dirent.h>
#include <memory>
#include <optional>
#include <sched.h>
#include "arguments.h"
#include "error.h"

namespace {

/** No kernel is built for more (CONFIG_NR_CPUS). */
constexpr int kCpus = 8192;

struct FreeSet {
  void operator()(cpu_set_t *set) const { CPU_FREE(set); }
};

/** A set of CPUs, empty at first. */
struct CpuSet {
  std::unique_ptr<cpu_set_t, FreeSet> set{CPU_ALLOC(kCpus)};
  size_t size = CPU_ALLOC_SIZE(kCpus);
  CpuSet() { CPU_ZERO_S(size, set.get()); }
};

/** Sets the CPUs of every thread; 0 or an errno. One that has ended meanwhile needs none. */
int SetCpusOfThreads(const CpuSet &cpus) {
  std::unique_ptr<DIR, int (*)(DIR *)> tasks(opendir("/proc/self/task"), closedir);
  if (!tasks)
    return errno;
  while (const dirent *task = readdir(tasks.get())) {
    int thread = atoi(task->d_name);
    if (thread > 0 && sched_setaffinity(thread, cpus.size, cpus.set.get()) != 0 && errno != ESRCH)
      return errno;
  }
  return 0;
}

std::optional<CpuSet> ReadCpus(const Napi::Value &value) {
  if (!value.IsArray()) {
    ThrowTypeError(value.Env(), "cpus must be an array");
    return std::nullopt;
  }
  Napi::Array list = value.As<Napi::Array>();
  CpuSet cpus;
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Value item = list.Get(i); // may run a getter of the caller
    if (value.Env().IsExceptionPending())
      return std::nullopt;
    std::optional<uint32_t> cpu = ReadUint32(item, "a CPU's number");
    if (!cpu)
      return std::nullopt;
    if (*cpu >= kCpus) {
      ThrowRangeError(value.Env(), "a CPU's number must be below 8192");
      return std::nullopt;
    }
    CPU_SET_S(*cpu, cpus.size, cpus.set.get());
  }
  return cpus;
}

} // namespace

Napi::Value UsableCpus(const Napi::CallbackInfo &info) {
  CpuSet cpus;
  if (sched_getaffinity(0, cpus.size, cpus.set.get()) != 0)
    return ThrowBpfError(info.Env(), errno, "ask for the CPUs of this thread");
  Napi::Array list = Napi::Array::New(info.Env());
  uint32_t count = 0;
  for (int cpu = 0; cpu < kCpus; cpu++) {
    if (CPU_ISSET_S(cpu, cpus.size, cpus.set.get()))
      list.Set(count++, cpu);
  }
  return list;
}

Napi::Value UseCpus(const Napi::CallbackInfo &info) {
  std::optional<CpuSet> cpus = ReadCpus(info[0]);
  if (!cpus)
    return Napi::Value();
  int error = SetCpusOfThreads(*cpus);
  if (error != 0)
    return ThrowBpfError(info.Env(), error, "set the CPUs of weft's threads");
  return info.Env().Undefined();
}
