// Owns what can be read of a network namespace: interfaces, forwarding, sk_lookup programs.
// Must not know why somebody asks.

#include "netns_state.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <cerrno>
#include <ifaddrs.h>
#include <linux/bpf.h>
#include <map>
#include <netpacket/packet.h>
#include <string>
#include <vector>
#include "fd.h"
#include "netns_worker.h"

namespace {

/** The kernel lets no more hang on sk_lookup of one namespace (netns_bpf_max_progs). */
constexpr uint32_t kMaxPrograms = 64;

struct Interface {
  int index = 0;
  /** ARPHRD_* of linux/if_arp.h. */
  uint32_t type = 0;
  std::vector<std::string> addresses;
};

struct State {
  std::map<std::string, Interface> interfaces;
  bool forwards_v4 = false;
  bool forwards_v6 = false;
  std::vector<uint32_t> lookup_programs;
};

std::string AddressText(const sockaddr *address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in *>(address)->sin_addr, text,
              sizeof(text));
  else
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6 *>(address)->sin6_addr, text,
              sizeof(text));
  return text;
}

int ReadInterfaces(std::map<std::string, Interface> *interfaces) {
  ifaddrs *first = nullptr;
  if (getifaddrs(&first) != 0)
    return errno;
  for (const ifaddrs *each = first; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr)
      continue;
    Interface &interface = (*interfaces)[each->ifa_name];
    int family = each->ifa_addr->sa_family;
    if (family == AF_PACKET) {
      const auto *packet = reinterpret_cast<const sockaddr_ll *>(each->ifa_addr);
      interface.index = packet->sll_ifindex;
      interface.type = packet->sll_hatype;
    } else if (family == AF_INET || family == AF_INET6) {
      interface.addresses.push_back(AddressText(each->ifa_addr));
    }
  }
  freeifaddrs(first);
  return 0;
}

/** A sysctl of the thread's namespace; false too where there is none. */
bool IsOn(const char *path) {
  Fd file(open(path, O_RDONLY | O_CLOEXEC));
  char value = '0';
  return file.valid() && read(file.get(), &value, 1) == 1 && value != '0';
}

int ReadLookupPrograms(std::vector<uint32_t> *programs) {
  Fd netns(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!netns.valid())
    return errno;
  uint32_t count = kMaxPrograms;
  programs->resize(count);
  if (bpf_prog_query(netns.get(), BPF_SK_LOOKUP, 0, nullptr, programs->data(), &count) != 0)
    return errno;
  programs->resize(count);
  return 0;
}

/** One readNetns(). */
class StateReader : public NetnsWorker {
public:
  StateReader(Napi::Env env, std::string netns)
      : NetnsWorker(env, "read state", std::move(netns)) {}

protected:
  int Work() override {
    if (int failed = ReadInterfaces(&state_.interfaces))
      return failed;
    state_.forwards_v4 = IsOn("/proc/sys/net/ipv4/ip_forward");
    state_.forwards_v6 = IsOn("/proc/sys/net/ipv6/conf/all/forwarding");
    return ReadLookupPrograms(&state_.lookup_programs);
  }

  Napi::Value Outcome(Napi::Env env) override {
    Napi::Array interfaces = Napi::Array::New(env);
    for (const auto &[name, interface] : state_.interfaces) {
      Napi::Array addresses = Napi::Array::New(env);
      for (const std::string &address : interface.addresses)
        addresses.Set(addresses.Length(), Napi::String::New(env, address));
      Napi::Object object = Napi::Object::New(env);
      object.Set("name", name);
      object.Set("index", interface.index);
      object.Set("type", interface.type);
      object.Set("addresses", addresses);
      interfaces.Set(interfaces.Length(), object);
    }
    Napi::Array programs = Napi::Array::New(env);
    for (uint32_t id : state_.lookup_programs)
      programs.Set(programs.Length(), Napi::Number::New(env, id));
    Napi::Object object = Napi::Object::New(env);
    object.Set("interfaces", interfaces);
    object.Set("forwardsIpv4", state_.forwards_v4);
    object.Set("forwardsIpv6", state_.forwards_v6);
    object.Set("lookupPrograms", programs);
    return object;
  }

private:
  State state_;
};

} // namespace

Napi::Value ReadNetns(const Napi::CallbackInfo &info) {
  std::optional<std::string> netns = ReadNetnsPath(info[0]);
  if (!netns)
    return Napi::Value();
  return (new StateReader(info.Env(), std::move(*netns)))->Start();
}
