// Owns reading what a BPF iterator prints, off the event loop. Must not know what it prints.

#include "iterator.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <vector>
#include "arguments.h"
#include "link.h"
#include "netns.h"

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

/** One readIterator(): works on a thread of the pool, settles its promise on the event loop. */
class Reader : public Napi::AsyncWorker {
public:
  Reader(Napi::Env env, Fd link, std::string netns)
      : AsyncWorker(env, "weft.readIterator"), deferred_(Napi::Promise::Deferred::New(env)),
        link_(std::move(link)), netns_(std::move(netns)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

protected:
  void Execute() override {
    auto read = [this] { error_ = ReadAll(link_.get(), &output_); };
    if (netns_.empty())
      read();
    else if (int failed = RunInNetns(netns_, read))
      error_ = failed;
  }

  void OnOK() override {
    if (error_ == 0) {
      deferred_.Resolve(Napi::Buffer<uint8_t>::Copy(Env(), output_.data(), output_.size()));
      return;
    }
    std::string where = netns_.empty() ? "" : " in network namespace " + netns_;
    deferred_.Reject(MakeBpfError(Env(), error_, "read iterator" + where).Value());
  }

private:
  Napi::Promise::Deferred deferred_;
  Fd link_;
  std::string netns_;
  std::vector<uint8_t> output_;
  int error_ = 0;
};

} // namespace

Napi::Value ReadIterator(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Link *link = Link::Unwrap(info[0]);
  if (link == nullptr)
    return Napi::Value();
  std::string netns;
  if (!info[1].IsUndefined()) {
    std::optional<std::string> path = ReadText(info[1], "netnsPath");
    if (!path)
      return Napi::Value();
    netns = *path;
  }
  int fd = link->RequireFd(env, "readIterator");
  if (fd < 0)
    return Napi::Value();
  // Its own descriptor: the link may be closed while the reader works.
  Fd own = Fd::Duplicate(fd);
  if (!own.valid())
    return ThrowBpfError(env, errno, "read iterator");
  Reader *reader = new Reader(env, std::move(own), std::move(netns)); // deletes itself when done
  Napi::Promise promise = reader->promise();
  reader->Queue();
  return promise;
}
