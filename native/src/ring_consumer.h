// Owns the thread that empties a BPF ring buffer and makes batches of its records.
// Must not know JavaScript.

#ifndef WEFT_NATIVE_RING_CONSUMER_H
#define WEFT_NATIVE_RING_CONSUMER_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <pthread.h>
#include <vector>
#include "fd.h"

struct ring_buffer;

/** Records laid end to end; record i ends before byte ends[i]. */
struct RecordBatch {
  std::vector<uint8_t> bytes;
  std::vector<size_t> ends;
};

class RingConsumer {
public:
  /** Takes a batch, waiting as long as it must; false: take no more for now. */
  using Sink = std::function<bool(std::unique_ptr<RecordBatch>)>;

  RingConsumer() = default;
  RingConsumer(const RingConsumer &) = delete;
  RingConsumer &operator=(const RingConsumer &) = delete;
  /** The thread must have been joined. */
  ~RingConsumer();

  /**
   * Maps the ring of `size` bytes behind `map`, without taking the descriptor. Returns 0 or an
   * errno: EINVAL when it is no ring buffer. Nothing is read before Start().
   */
  int Open(int map, size_t size, uint32_t max_batch, uint32_t latency_ms);
  /** Starts the thread, which calls `sink`. Returns 0 or an errno. */
  int Start(Sink sink);
  /** Tells the thread to end, without waiting: a sink that blocks must be woken by its owner. */
  void RequestStop();
  /** Waits for the thread; idempotent. */
  void Join();
  /** After Join(): gives the sink what the thread held, and what stands in the ring now. */
  void Drain();

  /** Bytes between the consumer's and the producer's position, headers included. */
  uint64_t Pending() const;

private:
  void Run();
  /** Waits up to `timeout_ms` (-1: forever); with `ring`, also for records. False: stop. */
  bool Wait(int timeout_ms, bool ring);
  /** Lets records gather until they are due or the ring fills up. False: stop. */
  bool Gather();
  bool Flush();
  int Take(const void *record, size_t size);
  static int OnRecord(void *self, void *record, size_t size);

  Fd map_;
  Fd wake_;
  ring_buffer *ring_ = nullptr;
  const uint8_t *positions_ = nullptr;
  size_t page_ = 0;
  size_t size_ = 0;
  uint32_t max_batch_ = 0;
  uint32_t latency_ms_ = 0;
  Sink sink_;
  std::unique_ptr<RecordBatch> batch_;
  /** Bytes of the ring that Drain() still has to read. */
  uint64_t left_ = 0;
  std::atomic<bool> stopping_{false};
  pthread_t thread_{};
  bool running_ = false;
};

#endif
