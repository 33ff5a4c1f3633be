// Owns RingBuffer: records of a BPF ring buffer delivered to JavaScript in batches.
// Must not know what a record means, nor how the ring is read.

#ifndef WEFT_NATIVE_RING_BUFFER_H
#define WEFT_NATIVE_RING_BUFFER_H

#include <memory>
#include <napi.h>
#include "handle.h"
#include "ring_consumer.h"

/** A consumer together with the way into JavaScript; ends both when it goes. */
class RingDelivery {
public:
  RingDelivery() = default;
  RingDelivery(const RingDelivery &) = delete;
  RingDelivery &operator=(const RingDelivery &) = delete;
  ~RingDelivery() { Stop(); }

  /** Starts delivering to `on_records`. Returns 0 or an errno. */
  int Start(Napi::Env env, Napi::Function on_records);
  /** Ends the thread and drops what was not delivered yet; idempotent, on the thread of `env`. */
  void Stop();

  RingConsumer consumer;

private:
  static void Deliver(Napi::Env env, Napi::Function on_records, void *, RecordBatch *batch);
  using Function = Napi::TypedThreadSafeFunction<void, RecordBatch, Deliver>;

  static void OnTeardown(void *self);
  void End();

  napi_env env_ = nullptr;
  Function function_;
};

struct RingBufferState {
  std::unique_ptr<RingDelivery> delivery;
};

class RingBuffer : public Handle<RingBuffer, RingBufferState> {
public:
  static constexpr HandleClass kClass = kRingBuffer;
  static constexpr const char *kName = "RingBuffer";
  static constexpr napi_type_tag kTag = {0x77656674f0a94d05, 0xf60b93d2a4e84155};

  static void Define(Napi::Env env);
  /** openRingBuffer(map, onRecords, { maxBatch, latencyMs }) */
  static Napi::Value Open(const Napi::CallbackInfo &info);

  explicit RingBuffer(const Napi::CallbackInfo &info);

private:
  Napi::Value Pending(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);
};

#endif
