// Owns the closing of sockets from outside (SOCK_DESTROY of sock_diag(7)), off the event loop.
// Must not know why a socket has to go.

#include "sock_diag.h"

#include <cerrno>
#include <cstring>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <optional>
#include <sys/socket.h>
#include <vector>
#include "arguments.h"
#include "error.h"
#include "fd.h"
#include "netns.h"

namespace {

struct Request {
  nlmsghdr header;
  inet_diag_req_v2 socket;
};

/** What the kernel answers: it repeats of the request what `header` says. */
struct Answer {
  nlmsghdr header;
  nlmsgerr error;
  char rest[256];
};

/** Asks for the end of one socket. Returns 0 or the errno that the kernel answers. */
int Destroy(int netlink, const inet_diag_req_v2 &socket) {
  Request request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DESTROY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.socket = socket;
  ssize_t done;
  do
    done = send(netlink, &request, sizeof(request), 0);
  while (done < 0 && errno == EINTR);
  if (done < 0)
    return errno;
  Answer answer{};
  do
    done = recv(netlink, &answer, sizeof(answer), 0);
  while (done < 0 && errno == EINTR);
  if (done < 0)
    return errno;
  if (static_cast<size_t>(done) < sizeof(answer.header) + sizeof(answer.error) ||
      answer.header.nlmsg_type != NLMSG_ERROR)
    return EPROTO;
  return -answer.error.error;
}

/** Returns 0, or the errno that no request came past. */
int DestroyAll(const std::vector<inet_diag_req_v2> &sockets, std::vector<int> *errors) {
  Fd netlink(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink.valid())
    return errno;
  for (const inet_diag_req_v2 &socket : sockets)
    errors->push_back(Destroy(netlink.get(), socket));
  return 0;
}

/** One destroySockets(): works on a thread of the pool, settles its promise on the event loop. */
class Destroyer : public Napi::AsyncWorker {
public:
  Destroyer(Napi::Env env, std::vector<inet_diag_req_v2> sockets, std::string netns)
      : AsyncWorker(env, "weft.destroySockets"), deferred_(Napi::Promise::Deferred::New(env)),
        sockets_(std::move(sockets)), netns_(std::move(netns)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

protected:
  void Execute() override {
    auto destroy = [this] { error_ = DestroyAll(sockets_, &errors_); };
    if (netns_.empty())
      destroy();
    else if (int failed = RunInNetns(netns_, destroy))
      error_ = failed;
  }

  void OnOK() override {
    if (error_ != 0) {
      std::string where = netns_.empty() ? "" : " in network namespace " + netns_;
      deferred_.Reject(MakeBpfError(Env(), error_, "destroy sockets" + where).Value());
      return;
    }
    Napi::Array errors = Napi::Array::New(Env(), errors_.size());
    for (uint32_t i = 0; i < errors_.size(); i++)
      errors.Set(i, Napi::Number::New(Env(), errors_[i]));
    deferred_.Resolve(errors);
  }

private:
  Napi::Promise::Deferred deferred_;
  std::vector<inet_diag_req_v2> sockets_;
  std::string netns_;
  std::vector<int> errors_;
  int error_ = 0;
};

} // namespace

Napi::Value DestroySockets(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::optional<Bytes> requests = ReadBytes(info[0], "requests");
  if (!requests)
    return Napi::Value();
  if (requests->size % sizeof(inet_diag_req_v2) != 0)
    return ThrowRangeError(env, "requests must be whole structs inet_diag_req_v2");
  std::vector<inet_diag_req_v2> sockets(requests->size / sizeof(inet_diag_req_v2));
  if (!sockets.empty())
    memcpy(sockets.data(), requests->data, requests->size);
  std::string netns;
  if (!info[1].IsUndefined()) {
    std::optional<std::string> path = ReadText(info[1], "netnsPath");
    if (!path)
      return Napi::Value();
    netns = *path;
  }
  // Deletes itself when done.
  Destroyer *destroyer = new Destroyer(env, std::move(sockets), std::move(netns));
  Napi::Promise promise = destroyer->promise();
  destroyer->Queue();
  return promise;
}
