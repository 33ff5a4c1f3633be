// Owns waiting until no BPF program still uses what it had looked up before.
// Must not know what was looked up.

#include "grace.h"

#include <bpf/bpf.h>
#include <cerrno>
#include "error.h"
#include "fd.h"

namespace {

/**
 * Returns once every program that ran when it was called has ended; 0 or an errno. The kernel
 * promises that for an update of a map of maps (synchronize_rcu in maybe_wait_bpf_programs), on
 * every kernel and with any number of CPUs; membarrier(2) has exceptions.
 */
int WaitForPrograms() {
  Fd inner(bpf_map_create(BPF_MAP_TYPE_ARRAY, "grace_inner", 4, 4, 1, nullptr));
  if (!inner.valid())
    return errno;
  bpf_map_create_opts options{};
  options.sz = sizeof(options);
  options.inner_map_fd = static_cast<uint32_t>(inner.get());
  Fd outer(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "grace", 4, 4, 1, &options));
  if (!outer.valid())
    return errno;
  uint32_t key = 0;
  int value = inner.get();
  return bpf_map_update_elem(outer.get(), &key, &value, BPF_ANY) == 0 ? 0 : errno;
}

/** One waitForReaders(): waits on a thread of the pool, settles its promise on the event loop. */
class Waiter : public Napi::AsyncWorker {
public:
  explicit Waiter(Napi::Env env)
      : AsyncWorker(env, "weft.waitForReaders"), deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

protected:
  void Execute() override { error_ = WaitForPrograms(); }

  void OnOK() override {
    if (error_ == 0)
      deferred_.Resolve(Env().Undefined());
    else
      deferred_.Reject(MakeBpfError(Env(), error_, "wait for running BPF programs").Value());
  }

private:
  Napi::Promise::Deferred deferred_;
  int error_ = 0;
};

} // namespace

Napi::Value WaitForReaders(const Napi::CallbackInfo &info) {
  Waiter *waiter = new Waiter(info.Env()); // deletes itself when done
  Napi::Promise promise = waiter->promise();
  waiter->Queue();
  return promise;
}
