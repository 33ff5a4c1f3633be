// Owns BpfError: how an errno of the kernel or libbpf becomes a JavaScript error.
// Must not know which call failed.

#ifndef WEFT_NATIVE_ERROR_H
#define WEFT_NATIVE_ERROR_H

#include <napi.h>
#include <string>

/** The name of a positive errno: "ENOENT"; "ERRNO_n" for one without a name. */
std::string ErrnoName(int error);

/** An Error with `code` and `errno`; the message is "`what`: CODE (description)". */
Napi::Error MakeBpfError(Napi::Env env, int error, const std::string &what);

/** Leaves MakeBpfError pending. Returns an empty value so that callers can return it. */
Napi::Value ThrowBpfError(Napi::Env env, int error, const std::string &what);

/**
 * The error of a program that the verifier refused: one line of it in the message, the whole `log`
 * as `verifierLog`. `what` names the program.
 */
Napi::Error MakeVerifierError(Napi::Env env, int error, const std::string &what,
                              const std::string &log);

/** Leaves MakeVerifierError pending; returns an empty value. */
Napi::Value ThrowVerifierError(Napi::Env env, int error, const std::string &what,
                               const std::string &log);

/** Leaves a TypeError pending; returns an empty value. */
Napi::Value ThrowTypeError(Napi::Env env, const std::string &message);

/** Leaves a RangeError pending; returns an empty value. */
Napi::Value ThrowRangeError(Napi::Env env, const std::string &message);

#endif
