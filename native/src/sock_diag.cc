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
#include "netns_worker.h"

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

/** One destroySockets(). */
class Destroyer : public NetnsWorker {
public:
  Destroyer(Napi::Env env, std::vector<inet_diag_req_v2> sockets, std::string netns)
      : NetnsWorker(env, "destroy sockets", std::move(netns)), sockets_(std::move(sockets)) {}

protected:
  int Work() override { return DestroyAll(sockets_, &errors_); }

  Napi::Value Outcome(Napi::Env env) override {
    Napi::Array errors = Napi::Array::New(env, errors_.size());
    for (uint32_t i = 0; i < errors_.size(); i++)
      errors.Set(i, Napi::Number::New(env, errors_[i]));
    return errors;
  }

private:
  std::vector<inet_diag_req_v2> sockets_;
  std::vector<int> errors_;
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
  std::optional<std::string> netns = ReadNetnsPath(info[1]);
  if (!netns)
    return Napi::Value();
  return (new Destroyer(env, std::move(sockets), std::move(*netns)))->Start();
}
