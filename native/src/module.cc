// Owns the addon's exports. Must not know how any of them works.

#include <bpf/libbpf.h>
#include <malloc.h>
#include <napi.h>
#include "arguments.h"
#include "attach.h"
#include "cpus.h"
#include "entries.h"
#include "grace.h"
#include "iterator.h"
#include "link.h"
#include "load.h"
#include "lock.h"
#include "map.h"
#include "map_socket.h"
#include "netns.h"
#include "netns_sockets.h"
#include "netns_state.h"
#include "notify.h"
#include "object.h"
#include "pinned.h"
#include "print.h"
#include "program.h"
#include "ring_buffer.h"
#include "sock_diag.h"
#include "stats.h"

namespace {

Napi::Value LibbpfVersion(const Napi::CallbackInfo &info) {
  const char *version = libbpf_version_string();
  return Napi::String::New(info.Env(), *version == 'v' ? version + 1 : version);
}

Napi::Value PossibleCpuCount(const Napi::CallbackInfo &info) {
  int cpus = PossibleCpus();
  if (cpus < 0)
    return ThrowBpfError(info.Env(), -cpus, "count possible CPUs");
  return Napi::Number::New(info.Env(), cpus);
}

void TrimMemory(const Napi::CallbackInfo &) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

/**
 * By itself glibc learns, from the first large block that is freed, to keep as much of such memory;
 * and what threads other than the first have freed last, not even malloc_trim() gives back.
 */
void KeepLittleMemory() {
#ifdef __GLIBC__
  static constexpr int kLargeBytes = 128 * 1024;
  mallopt(M_MMAP_THRESHOLD, kLargeBytes);
  mallopt(M_TRIM_THRESHOLD, kLargeBytes);
#endif
}

Napi::Value NetnsCookie(const Napi::CallbackInfo &info) {
  std::optional<std::string> path = ReadText(info[0], "netnsPath");
  if (!path)
    return Napi::Value();
  uint64_t cookie = 0;
  int error = ReadNetnsCookie(*path, &cookie);
  if (error != 0)
    return ThrowBpfError(info.Env(), error, "cookie of network namespace " + *path);
  return Napi::BigInt::New(info.Env(), cookie);
}

template <auto Callback> void Export(Napi::Object exports, const char *name) {
  exports.Set(name, Napi::Function::New<Callback>(exports.Env(), name));
}

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  InstallPrintCapture();
  KeepLittleMemory();
  env.SetInstanceData(new AddonData());
  Map::Define(env);
  Program::Define(env);
  Link::Define(env);
  Object::Define(env);
  RingBuffer::Define(env);
  Stats::Define(env);
  DirectoryLock::Define(env);
  MapSocket::Define(env);

  Export<LibbpfVersion>(exports, "libbpfVersion");
  Export<PossibleCpuCount>(exports, "possibleCpus");
  Export<TrimMemory>(exports, "trimMemory");
  Export<UsableCpus>(exports, "usableCpus");
  Export<UseCpus>(exports, "useCpus");
  Export<Object::OpenFile>(exports, "openObject");
  Export<LoadProgram>(exports, "loadProgram");
  Export<WaitForReaders>(exports, "waitForReaders");
  Export<OpenPinnedMap>(exports, "openPinnedMap");
  Export<OpenPinnedProgram>(exports, "openPinnedProgram");
  Export<OpenPinnedLink>(exports, "openPinnedLink");
  Export<OpenProgram>(exports, "openProgram");
  Export<LinkCgroup>(exports, "linkCgroup");
  Export<CgroupPrograms>(exports, "cgroupPrograms");
  Export<LinkNetns>(exports, "linkNetns");
  Export<LinkXdp>(exports, "linkXdp");
  Export<LinkTcx>(exports, "linkTcx");
  Export<LinkTracepoint>(exports, "linkTracepoint");
  Export<LinkIterator>(exports, "linkIterator");
  Export<ReadIterator>(exports, "readIterator");
  Export<DestroySockets>(exports, "destroySockets");
  Export<RingBuffer::Open>(exports, "openRingBuffer");
  Export<OpenNetnsSockets>(exports, "openNetnsSockets");
  Export<ReadNetns>(exports, "readNetns");
  Export<NetnsCookie>(exports, "netnsCookie");
  Export<DirectoryLock::Take>(exports, "lockDirectory");
  Export<Stats::Enable>(exports, "enableStats");
  Export<SendNotice>(exports, "sendNotice");
  Export<AttachToMap>(exports, "attachToMap");
  Export<MapSocket::Open>(exports, "openMapSocket");
  return exports;
}

} // namespace

NODE_API_MODULE(weft_native, Initialize)
