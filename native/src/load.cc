// Owns loading a program given as instructions. Must not know what they do.

#include "load.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstring>
#include <linux/bpf.h>
#include <memory>
#include <vector>
#include "arguments.h"
#include "map.h"
#include "program.h"
#include "signals.h"

namespace {

/** Room for the verifier's log; its pages are only touched by what it writes. */
constexpr size_t kLogBytes = 16 * 1024 * 1024;

struct Request {
  uint32_t type = 0;
  uint32_t attach_type = 0;
  std::string name;
  std::vector<bpf_insn> instructions;
};

/** Copies the instructions out of JavaScript; false with an exception pending. */
bool ReadInstructions(const Napi::Object &options, std::vector<bpf_insn> *instructions) {
  std::optional<Bytes> bytes = ReadBytesProperty(options, "instructions");
  if (!bytes)
    return false;
  if (bytes->size == 0 || bytes->size % sizeof(bpf_insn) != 0) {
    ThrowRangeError(options.Env(), "instructions must be whole ones of 8 bytes, one at least");
    return false;
  }
  instructions->resize(bytes->size / sizeof(bpf_insn));
  memcpy(instructions->data(), bytes->data, bytes->size);
  return true;
}

/** The first half of a 64-bit immediate at `index`; null with a RangeError pending. */
bpf_insn *FindWideLoad(Napi::Env env, std::vector<bpf_insn> *instructions, uint32_t index) {
  if (uint64_t{index} + 1 < instructions->size() &&
      (*instructions)[index].code == (BPF_LD | BPF_IMM | BPF_DW))
    return &(*instructions)[index];
  ThrowRangeError(env, "maps: instruction " + std::to_string(index) + " loads no 64-bit immediate");
  return nullptr;
}

/** Puts the maps' descriptors into the instructions; false with an exception pending. */
bool PatchMaps(const Napi::Object &options, std::vector<bpf_insn> *instructions) {
  Napi::Env env = options.Env();
  std::optional<Napi::Value> list = ReadProperty(options, "maps");
  if (!list)
    return false;
  if (list->IsUndefined())
    return true;
  if (!list->IsArray()) {
    ThrowTypeError(env, "maps must be an array");
    return false;
  }
  Napi::Array maps = list->As<Napi::Array>();
  for (uint32_t i = 0; i < maps.Length(); i++) {
    Napi::Value element = maps.Get(i);
    if (env.IsExceptionPending())
      return false;
    std::optional<Napi::Object> entry = ReadOptions(element, "an element of maps");
    if (!entry)
      return false;
    std::optional<Napi::Value> at = ReadProperty(*entry, "instruction");
    std::optional<uint32_t> index = at ? ReadUint32(*at, "instruction") : std::nullopt;
    if (!index)
      return false;
    std::optional<Napi::Value> handle = ReadProperty(*entry, "map");
    Map *map = handle ? Map::Unwrap(*handle) : nullptr;
    if (map == nullptr)
      return false;
    int fd = map->RequireFd(env, "loadProgram");
    if (fd < 0)
      return false;
    bpf_insn *load = FindWideLoad(env, instructions, *index);
    if (load == nullptr)
      return false;
    load->src_reg = BPF_PSEUDO_MAP_FD;
    load[0].imm = fd;
    load[1].imm = 0;
  }
  return true;
}

/** False with an exception pending. */
bool ReadRequest(const Napi::Object &options, Request *request) {
  std::optional<Napi::Value> type = ReadProperty(options, "type");
  std::optional<uint32_t> number = type ? ReadUint32(*type, "type") : std::nullopt;
  if (!number)
    return false;
  request->type = *number;
  std::optional<uint32_t> attach_type = ReadUint32Property(options, "attachType", 0);
  if (!attach_type)
    return false;
  request->attach_type = *attach_type;
  std::optional<Napi::Value> name_value = ReadProperty(options, "name");
  std::optional<std::string> name = name_value ? ReadText(*name_value, "name") : std::nullopt;
  if (!name)
    return false;
  if (name->size() >= BPF_OBJ_NAME_LEN) {
    ThrowRangeError(options.Env(), "name must be of at most 15 bytes");
    return false;
  }
  request->name = *name;
  return ReadInstructions(options, &request->instructions) &&
         PatchMaps(options, &request->instructions);
}

/** bpf_prog_load(); `log` may be null. */
Fd Load(const Request &request, char *log) {
  bpf_prog_load_opts options{};
  options.sz = sizeof(options);
  options.expected_attach_type = static_cast<bpf_attach_type>(request.attach_type);
  options.log_buf = log;
  options.log_size = log == nullptr ? 0 : kLogBytes;
  options.log_level = log == nullptr ? 0 : 1;
  SignalsHeld held;
  return Fd(bpf_prog_load(static_cast<bpf_prog_type>(request.type), request.name.c_str(),
                          "Dual BSD/GPL", request.instructions.data(), request.instructions.size(),
                          &options));
}

} // namespace

Napi::Value LoadProgram(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::optional<Napi::Object> options = ReadOptions(info[0], "options");
  Request request;
  if (!options || !ReadRequest(*options, &request))
    return Napi::Value();
  std::string what = "program '" + request.name + "'";
  Fd fd = Load(request, nullptr);
  if (fd.valid())
    return Program::Open(env, std::move(fd), what);
  int error = errno;
  // Again, with a log: writing one costs more than the whole load of a good program.
  std::unique_ptr<char[]> log(new char[kLogBytes]);
  log[0] = '\0';
  fd = Load(request, log.get());
  if (fd.valid())
    return Program::Open(env, std::move(fd), what);
  if (log[0] == '\0')
    return ThrowBpfError(env, error, what + ": load");
  return ThrowVerifierError(env, error, what, log.get());
}
