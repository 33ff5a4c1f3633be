// Owns reopening what is in the kernel already, by its pin or its id. Must not know who put it
// there.

#include "pinned.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <climits>
#include <optional>
#include <string_view>
#include "arguments.h"
#include "link.h"
#include "map.h"
#include "program.h"

namespace {

enum class Kind { kMap, kProgram, kLink, kOther };

/**
 * What stands behind a descriptor of bpf(2). The kernel's own information does not say: asking a
 * program for a map's would fill in nonsense. Its name in /proc has, since Linux 4.4 (links: 5.7).
 */
Kind KindOf(int fd) {
  char name[PATH_MAX];
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  ssize_t length = readlink(path.c_str(), name, sizeof(name));
  std::string_view text(name, length > 0 ? static_cast<size_t>(length) : 0);
  if (text.find("bpf-map") != text.npos)
    return Kind::kMap;
  if (text.find("bpf-prog") != text.npos)
    return Kind::kProgram;
  if (text.find("bpf_link") != text.npos || text.find("bpf-link") != text.npos)
    return Kind::kLink;
  return Kind::kOther;
}

/** The descriptor of a pin of the wanted kind; none with an exception pending. */
Fd OpenPin(const Napi::CallbackInfo &info, Kind wanted, const char *kind, std::string *what) {
  std::optional<std::string> path = ReadText(info[0], "path");
  if (!path)
    return Fd();
  *what = std::string("open pinned ") + kind + " " + *path;
  Fd fd(bpf_obj_get(path->c_str()));
  if (!fd.valid()) {
    ThrowBpfError(info.Env(), errno, *what);
    return Fd();
  }
  if (KindOf(fd.get()) != wanted) {
    ThrowBpfError(info.Env(), EINVAL, *what + ": something else is pinned there");
    return Fd();
  }
  return fd;
}

} // namespace

Napi::Value OpenPinnedMap(const Napi::CallbackInfo &info) {
  std::string what;
  Fd fd = OpenPin(info, Kind::kMap, "map", &what);
  return fd.valid() ? Map::Open(info.Env(), std::move(fd), what) : Napi::Value();
}

Napi::Value OpenPinnedProgram(const Napi::CallbackInfo &info) {
  std::string what;
  Fd fd = OpenPin(info, Kind::kProgram, "program", &what);
  return fd.valid() ? Program::Open(info.Env(), std::move(fd), what) : Napi::Value();
}

Napi::Value OpenPinnedLink(const Napi::CallbackInfo &info) {
  std::string what;
  Fd fd = OpenPin(info, Kind::kLink, "link", &what);
  return fd.valid() ? Link::Create(info.Env(), LinkState{std::move(fd)}) : Napi::Value();
}

Napi::Value OpenProgram(const Napi::CallbackInfo &info) {
  std::optional<uint32_t> id = ReadUint32(info[0], "id");
  if (!id)
    return Napi::Value();
  Fd fd(bpf_prog_get_fd_by_id(*id));
  return Program::Open(info.Env(), std::move(fd), "open program " + std::to_string(*id));
}
