// Owns BpfProgram: a loaded program. Must not know which hook it is for.

#include "program.h"

#include <bpf/bpf.h>
#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <linux/bpf.h>
#include <optional>
#include <thread>
#include <vector>
#include "arguments.h"
#include "signals.h"

namespace {

/** Room that BPF_PROG_TEST_RUN may add to a packet: XDP_PACKET_HEADROOM. */
constexpr uint32_t kHeadroom = 256;

int ReadInfo(int fd, bpf_prog_info *info) {
  *info = {};
  uint32_t size = sizeof(*info);
  return bpf_obj_get_info_by_fd(fd, info, &size) == 0 ? 0 : errno;
}

std::string TagText(const bpf_prog_info &info) {
  char text[BPF_TAG_SIZE * 2 + 1];
  for (size_t i = 0; i < BPF_TAG_SIZE; i++)
    snprintf(text + i * 2, 3, "%02x", info.tag[i]);
  return text;
}

/** Types that hand their context back; the others refuse a place to put it. */
bool ReturnsContext(uint32_t type) {
  return type == BPF_PROG_TYPE_XDP || type == BPF_PROG_TYPE_SCHED_CLS ||
         type == BPF_PROG_TYPE_SCHED_ACT || type == BPF_PROG_TYPE_SK_LOOKUP ||
         type == BPF_PROG_TYPE_CGROUP_SKB;
}

/**
 * BPF_PROG_TEST_RUN; 0 or an errno. The kernel leaves a loop of runs with EINTR as soon as the
 * thread has a signal or a notification pending, which may be one that no mask holds off, and the
 * runs until then have had their effect. A thread of its own has neither. The first run is never
 * left.
 */
int RunTest(int fd, bpf_test_run_opts *options) {
  auto run = [fd, options] { return bpf_prog_test_run_opts(fd, options) == 0 ? 0 : errno; };
  if (options->repeat <= 1)
    return run();
  SignalsHeld held; // the thread inherits it
  int failed = 0;
  std::thread([&failed, &run] { failed = run(); }).join();
  return failed;
}

} // namespace

void Program::Define(Napi::Env env) {
  Register<Program>(env, {
                             InstanceAccessor<&Program::Info>("info"),
                             InstanceMethod<&Program::Pin>("pin"),
                             InstanceMethod<&Program::TestRun>("testRun"),
                             InstanceMethod<&Program::Close>("close"),
                         });
}

Napi::Value Program::Open(Napi::Env env, Fd fd, const std::string &what) {
  bpf_prog_info info;
  int error = fd.valid() ? ReadInfo(fd.get(), &info) : errno;
  if (error != 0)
    return ThrowBpfError(env, error, what);
  return Create(env, ProgramState{std::move(fd), info.name});
}

Program::Program(const Napi::CallbackInfo &info) : Handle(info) {}

std::string Program::Describe() const {
  return "program '" + state_.name + "'";
}

int Program::RequireFd(Napi::Env env, const char *action) const {
  if (!state_.fd.valid())
    ThrowBpfError(env, EBADF, Describe() + " is closed: " + action);
  return state_.fd.get();
}

Napi::Value Program::Info(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "info");
  if (fd < 0)
    return Napi::Value();
  bpf_prog_info read;
  int error = ReadInfo(fd, &read);
  if (error != 0)
    return ThrowBpfError(info.Env(), error, Describe() + ": info");
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("id", read.id);
  object.Set("type", read.type);
  object.Set("name", read.name);
  object.Set("tag", TagText(read));
  object.Set("verifiedInstructions", read.verified_insns);
  object.Set("runTimeNs", Napi::BigInt::New(info.Env(), uint64_t{read.run_time_ns}));
  object.Set("runCount", Napi::BigInt::New(info.Env(), uint64_t{read.run_cnt}));
  object.Set("skippedRuns", Napi::BigInt::New(info.Env(), uint64_t{read.recursion_misses}));
  return object;
}

Napi::Value Program::Pin(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "pin");
  if (fd < 0)
    return Napi::Value();
  std::optional<std::string> path = ReadText(info[0], "path");
  if (!path)
    return Napi::Value();
  if (bpf_obj_pin(fd, path->c_str()) != 0)
    return ThrowBpfError(info.Env(), errno, Describe() + ": pin at " + *path);
  return info.Env().Undefined();
}

Napi::Value Program::TestRun(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::optional<Napi::Object> input = ReadOptions(info[0], "input");
  if (!input)
    return Napi::Value();
  // Reading a property may run a getter of the caller: bytes are copied, the descriptor comes last.
  std::optional<uint32_t> repeat = ReadUint32Property(*input, "repeat", 1, 1);
  if (!repeat)
    return Napi::Value();
  if (*repeat > INT_MAX)
    return ThrowRangeError(env, "repeat must be at most 2147483647");
  std::optional<Bytes> data = ReadBytesProperty(*input, "data");
  if (!data)
    return Napi::Value();
  std::vector<uint8_t> data_in(data->data, data->data + data->size);
  std::optional<Bytes> context = ReadBytesProperty(*input, "context");
  if (!context)
    return Napi::Value();
  std::vector<uint8_t> context_in(context->data, context->data + context->size);
  std::optional<uint32_t> room = ReadUint32Property(
      *input, "dataOutSize", data_in.empty() ? 0 : uint32_t(data_in.size()) + kHeadroom);
  if (!room)
    return Napi::Value();

  int fd = RequireFd(env, "testRun");
  if (fd < 0)
    return Napi::Value();
  bpf_prog_info program;
  int error = ReadInfo(fd, &program);
  if (error != 0)
    return ThrowBpfError(env, error, Describe() + ": testRun");
  std::vector<uint8_t> data_out(*room);
  std::vector<uint8_t> context_out(ReturnsContext(program.type) ? context_in.size() : 0);
  bpf_test_run_opts options{};
  options.sz = sizeof(options);
  options.data_in = data_in.data();
  options.data_size_in = static_cast<uint32_t>(data_in.size());
  options.data_out = data_out.data();
  options.ctx_in = context_in.data();
  options.ctx_size_in = static_cast<uint32_t>(context_in.size());
  options.ctx_out = context_out.data();
  options.repeat = static_cast<int>(*repeat);
  options.data_size_out = *room;
  options.ctx_size_out = static_cast<uint32_t>(context_out.size());
  int failed = RunTest(fd, &options);
  if (failed != 0)
    return ThrowBpfError(env, failed, Describe() + ": testRun");

  size_t data_size = std::min<size_t>(options.data_size_out, data_out.size());
  size_t context_size = std::min<size_t>(options.ctx_size_out, context_out.size());
  Napi::Object result = Napi::Object::New(env);
  result.Set("returnValue", options.retval);
  result.Set("durationNs", options.duration);
  result.Set("data", Napi::Buffer<uint8_t>::Copy(env, data_out.data(), data_size));
  result.Set("context", Napi::Buffer<uint8_t>::Copy(env, context_out.data(), context_size));
  return result;
}

Napi::Value Program::Close(const Napi::CallbackInfo &info) {
  state_.fd.Close();
  return info.Env().Undefined();
}
