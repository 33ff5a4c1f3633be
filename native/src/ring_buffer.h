// Owns RingBuffer: records of a BPF ring buffer delivered to JavaScript in batches.
// Must not know what a record means, nor how the ring is read.

#ifndef WEFT_NATIVE_RING_BUFFER_H
#define WEFT_NATIVE_RING_BUFFER_H

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <napi.h>
#include "handle.h"
#include "ring_consumer.h"

/** A consumer together with the way into JavaScript; ends both when it goes. */
class RingDelivery {
public:
  RingDelivery() = default;
  RingDelivery(const RingDelivery &) = delete;
  RingDelivery &operator=(const RingDelivery &) = delete;
  ~RingDelivery() { Abandon(); }

  /** Starts delivering to `on_records`. Returns 0 or an errno. */
  int Start(Napi::Env env, Napi::Function on_records);
  /** Ends the thread and delivers what is left, now; idempotent, on the thread of `env`. */
  void Stop();

  RingConsumer consumer;

private:
  static void OnBatch(Napi::Env env, Napi::Function on_records, RingDelivery *self, void *);
  using Function = Napi::TypedThreadSafeFunction<RingDelivery, void, OnBatch>;

  static void OnTeardown(void *self);
  void End();
  /** Ends the thread; what is left is lost. */
  void Abandon();
  /** Takes a batch from the thread, waits for room; false once stopped. */
  bool Push(std::unique_ptr<RecordBatch> batch);
  std::unique_ptr<RecordBatch> Pop();

  napi_env env_ = nullptr;
  Function function_;
  Napi::FunctionReference on_records_;
  std::mutex mutex_;
  std::condition_variable room_;
  std::deque<std::unique_ptr<RecordBatch>> queue_;
  bool stopped_ = false;
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
