// Owns work off the event loop inside a network namespace: a thread of the pool, and a promise.
// Must not know what is done there.

#ifndef WEFT_NATIVE_NETNS_WORKER_H
#define WEFT_NATIVE_NETNS_WORKER_H

#include <napi.h>
#include <optional>
#include <string>

/** A path from JavaScript; empty when it is undefined: the current namespace. */
std::optional<std::string> ReadNetnsPath(const Napi::Value &value);

/** One call: Start() it and return its promise. Deletes itself when done. */
class NetnsWorker : public Napi::AsyncWorker {
public:
  /** Begins to work, and gives the promise of the outcome. */
  Napi::Promise Start();

protected:
  /** `what` is done, for errors; `netns` as ReadNetnsPath() gives it. */
  NetnsWorker(Napi::Env env, std::string what, std::string netns);

  /** On the worker's thread, inside the namespace. Returns 0 or an errno. */
  virtual int Work() = 0;
  /** On the event loop, after Work() returned 0: what the promise resolves with. */
  virtual Napi::Value Outcome(Napi::Env env) = 0;

private:
  void Execute() final;
  void OnOK() final;

  Napi::Promise::Deferred deferred_;
  std::string what_;
  std::string netns_;
  int error_ = 0;
};

#endif
