// Owns reading what a BPF iterator prints, off the event loop. Must not know what it prints.

#include "iterator.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <vector>
#include "arguments.h"
#include "link.h"
#include "netns_worker.h"

namespace {

/** Room made at a time; a read of the kernel's seq_file gives at most a few pages. */
constexpr size_t kChunk = 64 * 1024;

/** Appends all that a new run of the iterator behind `link` prints. Returns 0 or an errno. */
int ReadAll(int link, std::vector<uint8_t> *output) {
  Fd iterator(bpf_iter_create(link));
  if (!iterator.valid())
    return errno;
  for (;;) {
    size_t size = output->size();
    output->resize(size + kChunk);
    ssize_t got = read(iterator.get(), output->data() + size, kChunk);
    int error = errno;
    output->resize(size + (got > 0 ? static_cast<size_t>(got) : 0));
    if (got == 0)
      return 0;
    // EAGAIN: the kernel went through a million objects without printing and takes a breath.
    if (got < 0 && error != EINTR && error != EAGAIN)
      return error;
  }
}

/** One readIterator(). */
class Reader : public NetnsWorker {
public:
  Reader(Napi::Env env, Fd link, std::string netns)
      : NetnsWorker(env, "read iterator", std::move(netns)), link_(std::move(link)) {}

protected:
  int Work() override { return ReadAll(link_.get(), &output_); }

  Napi::Value Outcome(Napi::Env env) override {
    return Napi::Buffer<uint8_t>::Copy(env, output_.data(), output_.size());
  }

private:
  Fd link_;
  std::vector<uint8_t> output_;
};

} // namespace

Napi::Value ReadIterator(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Link *link = Link::Unwrap(info[0]);
  if (link == nullptr)
    return Napi::Value();
  std::optional<std::string> netns = ReadNetnsPath(info[1]);
  if (!netns)
    return Napi::Value();
  int fd = link->RequireFd(env, "readIterator");
  if (fd < 0)
    return Napi::Value();
  // Its own descriptor: the link may be closed while the reader works.
  Fd own = Fd::Duplicate(fd);
  if (!own.valid())
    return ThrowBpfError(env, errno, "read iterator");
  return (new Reader(env, std::move(own), std::move(*netns)))->Start();
}
