// Owns the thread that empties a BPF ring buffer and makes batches of its records.
// Must not know JavaScript.

#include "ring_consumer.h"

#include <algorithm>
#include <bpf/libbpf.h>
#include <cerrno>
#include <chrono>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

namespace {
/** Looks at the filling of the ring while records gather. */
constexpr uint32_t kLooksPerLatency = 8;
constexpr uint32_t kLongestLookMs = 50;
/** BPF_RINGBUF_HDR_SZ: what a record takes in the ring beside itself. */
constexpr uint64_t kRecordHeader = 8;
} // namespace

RingConsumer::~RingConsumer() {
  if (positions_ != nullptr)
    munmap(const_cast<uint8_t *>(positions_), 2 * page_);
  ring_buffer__free(ring_);
}

int RingConsumer::Open(int map, size_t size, uint32_t max_batch, uint32_t latency_ms) {
  size_ = size;
  max_batch_ = max_batch;
  latency_ms_ = latency_ms;
  map_ = Fd::Duplicate(map);
  if (!map_.valid())
    return errno;
  ring_ = ring_buffer__new(map_.get(), OnRecord, this, nullptr);
  if (ring_ == nullptr)
    return errno;
  // libbpf 1.1 does not tell how full a ring is (1.3 does): the kernel's two position pages do.
  page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void *pages = mmap(nullptr, 2 * page_, PROT_READ, MAP_SHARED, map_.get(), 0);
  if (pages == MAP_FAILED)
    return errno;
  positions_ = static_cast<const uint8_t *>(pages);
  wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  return wake_.valid() ? 0 : errno;
}

int RingConsumer::Start(Sink sink) {
  sink_ = std::move(sink);
  auto run = [](void *self) -> void * {
    static_cast<RingConsumer *>(self)->Run();
    return nullptr;
  };
  int error = pthread_create(&thread_, nullptr, run, this);
  running_ = error == 0;
  return error;
}

void RingConsumer::RequestStop() {
  stopping_ = true;
  eventfd_write(wake_.get(), 1);
}

void RingConsumer::Join() {
  if (running_)
    pthread_join(thread_, nullptr);
  running_ = false;
}

void RingConsumer::Drain() {
  // Bounded: programs may go on filling the ring as fast as it is read.
  left_ = Pending();
  if (left_ > 0)
    ring_buffer__consume(ring_);
  Flush();
}

uint64_t RingConsumer::Pending() const {
  // The consumer's position first: it never passes the producer's read after it.
  unsigned long consumer =
      __atomic_load_n(reinterpret_cast<const unsigned long *>(positions_), __ATOMIC_ACQUIRE);
  unsigned long producer = __atomic_load_n(
      reinterpret_cast<const unsigned long *>(positions_ + page_), __ATOMIC_ACQUIRE);
  return producer - consumer;
}

bool RingConsumer::Wait(int timeout_ms, bool ring) {
  pollfd watched[] = {{wake_.get(), POLLIN, 0}, {ring_buffer__epoll_fd(ring_), POLLIN, 0}};
  poll(watched, ring ? 2 : 1, timeout_ms);
  return !stopping_;
}

bool RingConsumer::Gather() {
  using Clock = std::chrono::steady_clock;
  Clock::time_point due = Clock::now() + std::chrono::milliseconds(latency_ms_);
  int look = static_cast<int>(std::clamp(latency_ms_ / kLooksPerLatency, 1u, kLongestLookMs));
  // Records left in the ring cost no wake-ups: the kernel sends one only to a consumer that has
  // read everything. A quarter of the ring full ends the wait.
  while (Clock::now() < due && Pending() < size_ / 4) {
    if (!Wait(look, false))
      return false;
  }
  return !stopping_;
}

void RingConsumer::Run() {
  while (Wait(-1, true) && Gather()) {
    if (ring_buffer__consume(ring_) < 0 || !Flush())
      return;
  }
}

bool RingConsumer::Flush() {
  return batch_ == nullptr || sink_(std::move(batch_));
}

int RingConsumer::OnRecord(void *self, void *record, size_t size) {
  return static_cast<RingConsumer *>(self)->Take(record, size);
}

int RingConsumer::Take(const void *record, size_t size) {
  // libbpf counts a record as read whatever is returned here: it must be kept first.
  if (batch_ == nullptr)
    batch_ = std::make_unique<RecordBatch>();
  const uint8_t *bytes = static_cast<const uint8_t *>(record);
  batch_->bytes.insert(batch_->bytes.end(), bytes, bytes + size);
  batch_->ends.push_back(batch_->bytes.size());
  bool wanted = batch_->ends.size() < max_batch_ || Flush();
  if (running_)
    return wanted && !stopping_ ? 0 : -ECANCELED;
  uint64_t used = (uint64_t{size} + kRecordHeader + 7) / 8 * 8;
  left_ -= std::min(left_, used);
  return left_ > 0 ? 0 : -ECANCELED;
}
