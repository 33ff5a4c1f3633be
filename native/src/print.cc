// Owns what libbpf prints: nothing reaches stderr; a caller may collect it on its own thread.
// Must not know JavaScript.

#include "print.h"

#include <bpf/libbpf.h>
#include <cstdarg>
#include <cstdio>
#include <string_view>

namespace {

thread_local PrintCapture *current = nullptr;

int Print(libbpf_print_level level, const char *format, va_list arguments) {
  if (current == nullptr || level != LIBBPF_WARN)
    return 0;
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (length <= 0)
    return 0;
  std::string message(static_cast<size_t>(length) + 1, '\0');
  vsnprintf(message.data(), message.size(), format, arguments);
  message.pop_back();
  current->Add(std::move(message));
  return length;
}

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/** False for the verifier's statistics and for source lines that it quotes. */
bool SaysSomething(std::string_view line) {
  return line.find_first_not_of(" \t") != std::string_view::npos && line[0] != ';' &&
         !StartsWith(line, "processed ") && !StartsWith(line, "verification time ") &&
         !StartsWith(line, "stack depth ") && !StartsWith(line, "mark_precise: ");
}

} // namespace

PrintCapture::PrintCapture() {
  current = this;
}

PrintCapture::~PrintCapture() {
  current = nullptr;
}

void PrintCapture::Add(std::string message) {
  // libbpf 1.1 hands a log over in one message: prog 'NAME': -- BEGIN PROG LOAD LOG --\n...
  static constexpr std::string_view kBegin = "-- BEGIN PROG LOAD LOG --\n";
  static constexpr std::string_view kEnd = "-- END PROG LOAD LOG --";
  size_t begin = message.find(kBegin);
  if (begin != std::string::npos) {
    size_t from = begin + kBegin.size();
    size_t end = message.rfind(kEnd);
    verifier_log_ = message.substr(from, end == std::string::npos ? end : end - from);
    size_t open = message.find('\'');
    size_t close = message.find('\'', open + 1);
    if (close != std::string::npos && close < begin)
      program_ = message.substr(open + 1, close - open - 1);
    return;
  }
  static constexpr std::string_view kPrefix = "libbpf: ";
  std::string_view text = message;
  if (StartsWith(text, kPrefix))
    text.remove_prefix(kPrefix.size());
  while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
    text.remove_suffix(1);
  if (!warnings_.empty())
    warnings_ += "; ";
  for (char c : text)
    warnings_ += c == '\n' ? ' ' : c;
}

std::string VerifierSummary(const std::string &log) {
  std::string_view rest = log;
  while (!rest.empty()) {
    size_t newline = rest.rfind('\n');
    std::string_view line = newline == std::string_view::npos ? rest : rest.substr(newline + 1);
    if (SaysSomething(line))
      return std::string(line);
    rest = newline == std::string_view::npos ? std::string_view() : rest.substr(0, newline);
  }
  return "no reason given";
}

void InstallPrintCapture() {
  libbpf_set_print(Print);
}
