// Owns work off the event loop inside a network namespace: a thread of the pool, and a promise.
// Must not know what is done there.

#include "netns_worker.h"

#include "arguments.h"
#include "error.h"
#include "netns.h"

std::optional<std::string> ReadNetnsPath(const Napi::Value &value) {
  if (value.IsUndefined())
    return std::string();
  return ReadText(value, "netnsPath");
}

NetnsWorker::NetnsWorker(Napi::Env env, std::string what, std::string netns)
    : AsyncWorker(env, "weft.netnsWorker"), deferred_(Napi::Promise::Deferred::New(env)),
      what_(std::move(what)), netns_(std::move(netns)) {}

Napi::Promise NetnsWorker::Start() {
  Napi::Promise promise = deferred_.Promise();
  Queue();
  return promise;
}

void NetnsWorker::Execute() {
  auto work = [this] { error_ = Work(); };
  if (netns_.empty())
    work();
  else if (int failed = RunInNetns(netns_, work))
    error_ = failed;
}

void NetnsWorker::OnOK() {
  if (error_ == 0) {
    deferred_.Resolve(Outcome(Env()));
    return;
  }
  std::string where = netns_.empty() ? "" : " in network namespace " + netns_;
  deferred_.Reject(MakeBpfError(Env(), error_, what_ + where).Value());
}
