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

int Bind(const sockaddr_in &address, int type, Fd *socket_fd) {
  Fd made(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int on = 1;
  if (!made.valid() || setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      setsockopt(made.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
      bind(made.get(), reinterpret_cast<const sockaddr *>(&address), sizeof(address)) != 0)
    return errno;
  *socket_fd = std::move(made);
  return 0;
}

/** One openNetnsSockets(). */
class Opener : public NetnsWorker {
public:
  Opener(Napi::Env env, std::string netns, const sockaddr_in &address)
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
  sockaddr_in address_;
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
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(*port));
  if (*port > UINT16_MAX || inet_pton(AF_INET, text->c_str(), &address.sin_addr) != 1)
    return ThrowRangeError(info.Env(), "address and port must be of IPv4");
  return (new Opener(info.Env(), std::move(*netns), address))->Start();
}
