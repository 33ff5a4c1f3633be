// Owns finding a hook, what hangs there and attaching a program to it: cgroup, network namespace,
// interface, tracepoint, iterator. Must not know what the program does there.

#include "attach.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <linux/if_link.h>
#include <net/if.h>
#include <vector>
#include "arguments.h"
#include "link.h"
#include "netns.h"
#include "netns_worker.h"
#include "program.h"

namespace {

/** bpf_link_create as a Link, or the errno of it as BpfError. */
Napi::Value CreateLink(Napi::Env env, int program, int target, uint32_t attach_type,
                       const bpf_link_create_opts *options, const std::string &what) {
  Fd link(bpf_link_create(program, target, static_cast<bpf_attach_type>(attach_type), options));
  if (!link.valid())
    return ThrowBpfError(env, errno, what);
  return Link::Create(env, LinkState{std::move(link)});
}

/** Attaches to what stands at a path: a cgroup's directory or a namespace's file. */
Napi::Value LinkPath(const Napi::CallbackInfo &info, const char *where, int flags) {
  Napi::Env env = info.Env();
  Program *program = Program::Unwrap(info[0]);
  if (program == nullptr)
    return Napi::Value();
  int program_fd = program->RequireFd(env, where);
  if (program_fd < 0)
    return Napi::Value();
  std::optional<std::string> path = ReadText(info[1], "path");
  if (!path)
    return Napi::Value();
  std::optional<uint32_t> attach_type = ReadUint32(info[2], "attachType");
  if (!attach_type)
    return Napi::Value();
  std::string what = "attach " + program->Describe() + " to " + where + " " + *path;
  Fd target(open(path->c_str(), O_RDONLY | O_CLOEXEC | flags));
  if (!target.valid())
    return ThrowBpfError(env, errno, what);
  return CreateLink(env, program_fd, target.get(), *attach_type, nullptr, what);
}

} // namespace

Napi::Value LinkCgroup(const Napi::CallbackInfo &info) {
  return LinkPath(info, "cgroup", O_DIRECTORY);
}

Napi::Value LinkNetns(const Napi::CallbackInfo &info) {
  return LinkPath(info, "network namespace", 0);
}

namespace {

/** More than the kernel lets hang on one hook, in one cgroup of each level (BPF_CGROUP_MAX_PROGS).
 */
constexpr uint32_t kMaxCgroupPrograms = 512;

/** Empty: it has gone meanwhile. */
std::optional<std::string> ProgramName(uint32_t id) {
  Fd program(bpf_prog_get_fd_by_id(id));
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  if (!program.valid() || bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0)
    return std::nullopt;
  return info.name;
}

} // namespace

Napi::Value CgroupPrograms(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::optional<std::string> path = ReadText(info[0], "path");
  if (!path)
    return Napi::Value();
  std::optional<uint32_t> attach_type = ReadUint32(info[1], "attachType");
  if (!attach_type)
    return Napi::Value();
  Fd cgroup(open(path->c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  uint32_t count = kMaxCgroupPrograms;
  std::vector<uint32_t> ids(count);
  if (!cgroup.valid() || bpf_prog_query(cgroup.get(), static_cast<bpf_attach_type>(*attach_type),
                                        BPF_F_QUERY_EFFECTIVE, nullptr, ids.data(), &count) != 0)
    return ThrowBpfError(env, errno, "list programs of cgroup " + *path);
  ids.resize(count);
  Napi::Array programs = Napi::Array::New(env);
  for (uint32_t id : ids) {
    std::optional<std::string> name = ProgramName(id);
    if (!name)
      continue;
    Napi::Object program = Napi::Object::New(env);
    program.Set("id", id);
    program.Set("name", *name);
    programs.Set(programs.Length(), program);
  }
  return programs;
}

namespace {

/** BPF_TCX_INGRESS of linux/bpf.h (Linux 6.6), which older headers do not have. */
constexpr uint32_t kTcxIngress = 46;

/** netnsPath of the options; empty when it is not given. */
std::optional<std::string> ReadNetnsOption(const Napi::Object &options) {
  std::optional<Napi::Value> value = ReadProperty(options, "netnsPath");
  if (!value)
    return std::nullopt;
  return ReadNetnsPath(*value);
}

/** Attaches to an interface; `where` the kind of hook. */
Napi::Value LinkInterface(const Napi::CallbackInfo &info, const char *where, uint32_t attach_type,
                          uint32_t flags, const std::string &netns) {
  Napi::Env env = info.Env();
  Program *program = Program::Unwrap(info[0]);
  if (program == nullptr)
    return Napi::Value();
  std::optional<std::string> interface = ReadText(info[1], "interfaceName");
  if (!interface)
    return Napi::Value();
  int program_fd = program->RequireFd(env, where);
  if (program_fd < 0)
    return Napi::Value();
  bpf_link_create_opts options{};
  options.sz = sizeof(options);
  options.flags = flags;
  Fd link;
  int error = 0;
  // The kernel looks the index up in the namespace of the calling thread.
  auto attach = [&] {
    unsigned index = if_nametoindex(interface->c_str());
    if (index != 0)
      link = Fd(bpf_link_create(program_fd, static_cast<int>(index),
                                static_cast<bpf_attach_type>(attach_type), &options));
    if (!link.valid())
      error = errno;
  };
  if (netns.empty())
    attach();
  else if (int failed = RunInNetns(netns, attach))
    error = failed;
  if (!link.valid())
    return ThrowBpfError(env, error,
                         "attach " + program->Describe() + " by " + where + " to interface " +
                             *interface + (netns.empty() ? "" : " of network namespace " + netns));
  return Link::Create(env, LinkState{std::move(link)});
}

} // namespace

Napi::Value LinkXdp(const Napi::CallbackInfo &info) {
  std::optional<Napi::Object> given = ReadOptions(info[2], "options");
  if (!given)
    return Napi::Value();
  std::optional<std::string> netns = ReadNetnsOption(*given);
  if (!netns)
    return Napi::Value();
  std::optional<Napi::Value> mode_value = ReadProperty(*given, "mode");
  if (!mode_value)
    return Napi::Value();
  std::optional<std::string> mode = ReadText(*mode_value, "mode");
  if (!mode)
    return Napi::Value();
  if (*mode != "native" && *mode != "generic")
    return ThrowTypeError(info.Env(), "mode must be \"native\" or \"generic\"");
  uint32_t flags = *mode == "native" ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  return LinkInterface(info, "XDP", BPF_XDP, flags, *netns);
}

Napi::Value LinkTcx(const Napi::CallbackInfo &info) {
  std::optional<Napi::Object> given = ReadOptions(info[2], "options");
  if (!given)
    return Napi::Value();
  std::optional<std::string> netns = ReadNetnsOption(*given);
  if (!netns)
    return Napi::Value();
  return LinkInterface(info, "tcx", kTcxIngress, 0, *netns);
}

namespace {

/** Attaches to what the program itself names. */
Napi::Value LinkNamed(const Napi::CallbackInfo &info, const char *action,
                      bpf_attach_type attach_type, const char *what) {
  Napi::Env env = info.Env();
  Program *program = Program::Unwrap(info[0]);
  if (program == nullptr)
    return Napi::Value();
  int program_fd = program->RequireFd(env, action);
  if (program_fd < 0)
    return Napi::Value();
  return CreateLink(env, program_fd, 0, attach_type, nullptr, what + program->Describe());
}

} // namespace

Napi::Value LinkTracepoint(const Napi::CallbackInfo &info) {
  return LinkNamed(info, "linkTracepoint", BPF_TRACE_RAW_TP, "attach to its tracepoint ");
}

Napi::Value LinkIterator(const Napi::CallbackInfo &info) {
  return LinkNamed(info, "linkIterator", BPF_TRACE_ITER, "make an iterator of ");
}
