// Owns one message to a service manager (sd_notify(3)): Node opens no UNIX datagram sockets.
// Must not know what it says.

#include "notify.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include "arguments.h"
#include "error.h"
#include "fd.h"

Napi::Value SendNotice(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::optional<std::string> path = ReadText(info[0], "socket");
  if (!path)
    return Napi::Value();
  std::optional<std::string> text = ReadText(info[1], "text");
  if (!text)
    return Napi::Value();
  std::string what = "tell " + *path;
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path->empty() || path->size() >= sizeof(address.sun_path))
    return ThrowBpfError(env, ENAMETOOLONG, what);
  memcpy(address.sun_path, path->data(), path->size());
  if (address.sun_path[0] == '@')
    address.sun_path[0] = '\0';
  socklen_t length = offsetof(struct sockaddr_un, sun_path) + path->size();
  Fd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() || sendto(fd.get(), text->data(), text->size(), MSG_NOSIGNAL,
                            reinterpret_cast<struct sockaddr *>(&address), length) < 0)
    return ThrowBpfError(env, errno, what);
  return env.Undefined();
}
