// Owns RingBuffer: records of a BPF ring buffer delivered to JavaScript in batches.
// Must not know what a record means, nor how the ring is read.

#include "ring_buffer.h"

#include <cerrno>
#include <linux/bpf.h>
#include "arguments.h"
#include "map.h"

namespace {

constexpr uint32_t kMaxBatch = 512;
constexpr uint32_t kLatencyMs = 20;
/** Batches on their way to the event loop; after that the ring itself must hold the records. */
constexpr size_t kQueuedBatches = 4;

void Deliver(Napi::Env env, Napi::Function on_records, const RecordBatch &batch) {
  Napi::HandleScope scope(env);
  Napi::Array records = Napi::Array::New(env, batch.ends.size());
  size_t begin = 0;
  for (uint32_t i = 0; i < batch.ends.size(); i++) {
    size_t end = batch.ends[i];
    records.Set(i, Napi::Buffer<uint8_t>::Copy(env, batch.bytes.data() + begin, end - begin));
    begin = end;
  }
  on_records.Call({records});
  // Node would only warn about it (DEP0168); here it counts as any other uncaught exception.
  if (env.IsExceptionPending())
    napi_fatal_exception(env, env.GetAndClearPendingException().Value());
}

} // namespace

int RingDelivery::Start(Napi::Env env, Napi::Function on_records) {
  // One user, the thread, which End() joins before the function can be finalized. Its own queue
  // stays short: it holds one call for each batch of ours.
  function_ = Function::New(env, on_records, "weft.ringBuffer", 0, 1, this);
  if (env.IsExceptionPending())
    return ENOMEM;
  env_ = env;
  on_records_ = Napi::Persistent(on_records);
  // After the function's own hook, so that ours runs before it.
  napi_add_env_cleanup_hook(env, OnTeardown, this);
  return consumer.Start(
      [this](std::unique_ptr<RecordBatch> batch) { return Push(std::move(batch)); });
}

bool RingDelivery::Push(std::unique_ptr<RecordBatch> batch) {
  std::unique_lock<std::mutex> lock(mutex_);
  room_.wait(lock, [this] { return stopped_ || queue_.size() < kQueuedBatches; });
  queue_.push_back(std::move(batch));
  // Stopped: who stops takes the rest itself.
  return !stopped_ && function_.NonBlockingCall() == napi_ok;
}

std::unique_ptr<RecordBatch> RingDelivery::Pop() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (queue_.empty())
    return nullptr;
  std::unique_ptr<RecordBatch> batch = std::move(queue_.front());
  queue_.pop_front();
  room_.notify_one();
  return batch;
}

void RingDelivery::OnBatch(Napi::Env env, Napi::Function on_records, RingDelivery *self, void *) {
  // No environment: the function ends, and its owner may be gone.
  if (static_cast<napi_env>(env) == nullptr || on_records.IsEmpty())
    return;
  // The callback may close the ring buffer: nothing of `self` is used after it.
  if (std::unique_ptr<RecordBatch> batch = self->Pop())
    Deliver(env, on_records, *batch);
}

void RingDelivery::End() {
  env_ = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  room_.notify_all();
  consumer.RequestStop();
  consumer.Join();
  function_.Abort();
}

void RingDelivery::Abandon() {
  if (env_ == nullptr)
    return;
  napi_remove_env_cleanup_hook(env_, OnTeardown, this);
  End();
}

void RingDelivery::Stop() {
  if (env_ == nullptr)
    return;
  Napi::Env env(env_);
  Abandon();
  consumer.Drain();
  Napi::Function on_records = on_records_.Value();
  while (std::unique_ptr<RecordBatch> batch = Pop())
    Deliver(env, on_records, *batch);
}

void RingDelivery::OnTeardown(void *self) {
  RingDelivery *delivery = static_cast<RingDelivery *>(self);
  delivery->End();
  delivery->on_records_.Reset();
}

void RingBuffer::Define(Napi::Env env) {
  Register<RingBuffer>(env, {
                                InstanceAccessor<&RingBuffer::Pending>("pending"),
                                InstanceMethod<&RingBuffer::Close>("close"),
                            });
}

Napi::Value RingBuffer::Open(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Map *map = Map::Unwrap(info[0]);
  if (map == nullptr)
    return Napi::Value();
  if (!info[1].IsFunction())
    return ThrowTypeError(env, "onRecords must be a function");
  std::optional<Napi::Object> options = ReadOptions(info[2], "options");
  if (!options)
    return Napi::Value();
  std::optional<uint32_t> max_batch = ReadUint32Property(*options, "maxBatch", kMaxBatch, 1);
  if (!max_batch)
    return Napi::Value();
  std::optional<uint32_t> latency = ReadUint32Property(*options, "latencyMs", kLatencyMs);
  if (!latency)
    return Napi::Value();
  int fd = map->RequireFd(env, "openRingBuffer");
  if (fd < 0)
    return Napi::Value();

  std::string what = map->Describe() + ": openRingBuffer";
  RingBufferState state{std::make_unique<RingDelivery>()};
  RingDelivery *delivery = state.delivery.get();
  int error = map->info().type == BPF_MAP_TYPE_RINGBUF
                  ? delivery->consumer.Open(fd, map->info().max_entries, *max_batch, *latency)
                  : EINVAL;
  if (error != 0)
    return ThrowBpfError(env, error, what);
  Napi::Value created = Create(env, std::move(state));
  if (created.IsEmpty())
    return created;
  error = delivery->Start(env, info[1].As<Napi::Function>());
  if (error != 0)
    return ThrowBpfError(env, error, what);
  // An open ring buffer is not garbage, even when only its callback is waited for.
  Unwrap(created)->Ref();
  return created;
}

RingBuffer::RingBuffer(const Napi::CallbackInfo &info) : Handle(info) {}

Napi::Value RingBuffer::Pending(const Napi::CallbackInfo &info) {
  uint64_t bytes = state_.delivery ? state_.delivery->consumer.Pending() : 0;
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

Napi::Value RingBuffer::Close(const Napi::CallbackInfo &info) {
  // Out of our state first: the callback may close again.
  if (std::unique_ptr<RingDelivery> delivery = std::move(state_.delivery)) {
    delivery->Stop();
    Unref();
  }
  return info.Env().Undefined();
}
