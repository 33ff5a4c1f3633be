// Owns sockets that are bound in another network namespace. Must not know what is spoken there.

#include "netns_sockets.h"

#include <arpa/inet.h>
#include <cerrno>
#include <sys/socket.h>
#include "arguments.h"
#include "error.h"
#include "fd.h"
#include "netns_worker.h"

namespace {

union Address {
  // The largest first: it is the one that {} fills with zeros.
  sockaddr_in6 v6;
  sockaddr_in v4;
  sockaddr any;

  socklen_t size() const { return any.sa_family == AF_INET ? sizeof(v4) : sizeof(v6); }
};

std::optional<Address> ReadAddress(const std::string &text, uint32_t port) {
  Address address{};
  if (port > UINT16_MAX)
    return std::nullopt;
  if (inet_pton(AF_INET, text.c_str(), &address.v4.sin_addr) == 1) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }
  address = {};
  if (inet_pton(AF_INET6, text.c_str(), &address.v6.sin6_addr) != 1)
    return std::nullopt;
  address.v6.sin6_family = AF_INET6;
  address.v6.sin6_port = htons(static_cast<uint16_t>(port));
  return address;
}

int Bind(const Address &address, int type, Fd *socket_fd) {
  Fd made(socket(address.any.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int on = 1;
  if (!made.valid() || setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      setsockopt(made.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
      bind(made.get(), &address.any, address.size()) != 0)
    return errno;
  *socket_fd = std::move(made);
  return 0;
}

/** One openNetnsSockets(). */
class Opener : public NetnsWorker {
public:
  Opener(Napi::Env env, std::string netns, const Address &address)
      : NetnsWorker(env, "open sockets", std::move(netns)), address_(address) {}

protected:
  int Work() override {
    if (int failed = Bind(address_, SOCK_DGRAM, &udp_))
      return failed;
    return Bind(address_, SOCK_STREAM, &tcp_);
  }

  Napi::Value Outcome(Napi::Env env) override {
    Napi::Object sockets = Napi::Object::New(env);
    sockets.Set("udp", udp_.Release());
    sockets.Set("tcp", tcp_.Release());
    return sockets;
  }

private:
  Address address_;
  Fd udp_;
  Fd tcp_;
};

} // namespace

Napi::Value OpenNetnsSockets(const Napi::CallbackInfo &info) {
  std::optional<std::string> netns = ReadText(info[0], "netnsPath");
  if (!netns)
    return Napi::Value();
  std::optional<std::string> text = ReadText(info[1], "address");
  if (!text)
    return Napi::Value();
  std::optional<uint32_t> port = ReadUint32(info[2], "port");
  if (!port)
    return Napi::Value();
  std::optional<Address> address = ReadAddress(*text, *port);
  if (!address)
    return ThrowRangeError(info.Env(), "address and port must be of IPv4 or IPv6");
  return (new Opener(info.Env(), std::move(*netns), *address))->Start();
}
