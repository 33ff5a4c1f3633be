// Owns what the kernel's type information says of a map's keys and values. Must not know what they
// mean.

#include "map_layout.h"

#include <bpf/btf.h>
#include <cerrno>
#include <memory>
#include <string>
#include "error.h"

namespace {

Napi::Object Field(Napi::Env env, const char *name, uint32_t offset, int64_t size) {
  Napi::Object field = Napi::Object::New(env);
  field.Set("name", name);
  field.Set("offset", offset);
  field.Set("size", static_cast<double>(size));
  return field;
}

/** The type's fields; those of structs within it are one field each. */
Napi::Array FieldsOf(Napi::Env env, const btf *types, uint32_t id) {
  Napi::Array fields = Napi::Array::New(env);
  const btf_type *type =
      btf__type_by_id(types, static_cast<uint32_t>(btf__resolve_type(types, id)));
  if (type == nullptr || !btf_is_struct(type)) {
    fields.Set(0U, Field(env, "", 0, btf__resolve_size(types, id)));
    return fields;
  }
  const btf_member *members = btf_members(type);
  for (uint16_t i = 0; i < btf_vlen(type); i++) {
    const char *name = btf__name_by_offset(types, members[i].name_off);
    fields.Set(i, Field(env, name == nullptr ? "" : name, btf_member_bit_offset(type, i) / 8,
                        btf__resolve_size(types, members[i].type)));
  }
  return fields;
}

} // namespace

Napi::Value MapLayout(Napi::Env env, const bpf_map_info &info, const std::string &what) {
  if (info.btf_id == 0 || info.btf_value_type_id == 0)
    return env.Undefined();
  std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_from_kernel_by_id(info.btf_id),
                                                   btf__free);
  if (!types)
    return ThrowBpfError(env, errno, what + ": type information");
  Napi::Object layout = Napi::Object::New(env);
  layout.Set("key", FieldsOf(env, types.get(), info.btf_key_type_id));
  layout.Set("value", FieldsOf(env, types.get(), info.btf_value_type_id));
  return layout;
}
