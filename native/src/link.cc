// Owns BpfLink: a program attached to a hook. Must not know how the hook was found.

#include "link.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <linux/bpf.h>
#include <optional>
#include "arguments.h"
#include "program.h"

namespace {

/** BPF_LINK_TYPE_TCX of linux/bpf.h (Linux 6.6), which older headers do not have. */
constexpr uint32_t kTcxLink = 11;

} // namespace

void Link::Define(Napi::Env env) {
  Register<Link>(env, {
                          InstanceAccessor<&Link::Info>("info"),
                          InstanceMethod<&Link::Update>("update"),
                          InstanceMethod<&Link::Detach>("detach"),
                          InstanceMethod<&Link::Pin>("pin"),
                          InstanceMethod<&Link::Close>("close"),
                      });
}

Link::Link(const Napi::CallbackInfo &info) : Handle(info) {}

int Link::RequireFd(Napi::Env env, const char *action) const {
  if (!state_.fd.valid())
    ThrowBpfError(env, EBADF, std::string("link is closed: ") + action);
  return state_.fd.get();
}

Napi::Value Link::Info(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int fd = RequireFd(env, "info");
  if (fd < 0)
    return Napi::Value();
  bpf_link_info read{};
  uint32_t size = sizeof(read);
  if (bpf_obj_get_info_by_fd(fd, &read, &size) != 0)
    return ThrowBpfError(env, errno, "link: info");
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", read.id);
  object.Set("type", read.type);
  object.Set("programId", read.prog_id);
  switch (read.type) {
  case BPF_LINK_TYPE_CGROUP:
    object.Set("attachType", read.cgroup.attach_type);
    object.Set("cgroupId", Napi::BigInt::New(env, uint64_t{read.cgroup.cgroup_id}));
    break;
  case BPF_LINK_TYPE_NETNS:
    object.Set("attachType", read.netns.attach_type);
    object.Set("netnsInode", read.netns.netns_ino);
    break;
  case BPF_LINK_TYPE_XDP:
    object.Set("attachType", uint32_t{BPF_XDP});
    object.Set("ifindex", read.xdp.ifindex);
    break;
  case kTcxLink:
    // Index and attach type, laid out as a namespace's inode and attach type.
    object.Set("attachType", read.netns.attach_type);
    object.Set("ifindex", read.netns.netns_ino);
    break;
  case BPF_LINK_TYPE_ITER:
    object.Set("attachType", uint32_t{BPF_TRACE_ITER});
    break;
  case BPF_LINK_TYPE_RAW_TRACEPOINT:
    object.Set("attachType", uint32_t{BPF_TRACE_RAW_TP});
    break;
  default:
    // Tracing links begin their part of the union with it; weft makes no others.
    object.Set("attachType", read.tracing.attach_type);
  }
  return object;
}

Napi::Value Link::Update(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "update");
  if (fd < 0)
    return Napi::Value();
  Program *program = Program::Unwrap(info[0]);
  if (program == nullptr)
    return Napi::Value();
  int program_fd = program->RequireFd(info.Env(), "link update");
  if (program_fd < 0)
    return Napi::Value();
  if (bpf_link_update(fd, program_fd, nullptr) != 0)
    return ThrowBpfError(info.Env(), errno, "link: update to " + program->Describe());
  return info.Env().Undefined();
}

Napi::Value Link::Detach(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "detach");
  if (fd < 0)
    return Napi::Value();
  if (bpf_link_detach(fd) != 0)
    return ThrowBpfError(info.Env(), errno, "link: detach");
  return info.Env().Undefined();
}

Napi::Value Link::Pin(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "pin");
  if (fd < 0)
    return Napi::Value();
  std::optional<std::string> path = ReadText(info[0], "path");
  if (!path)
    return Napi::Value();
  if (bpf_obj_pin(fd, path->c_str()) != 0)
    return ThrowBpfError(info.Env(), errno, "link: pin at " + *path);
  return info.Env().Undefined();
}

Napi::Value Link::Close(const Napi::CallbackInfo &info) {
  state_.fd.Close();
  return info.Env().Undefined();
}
