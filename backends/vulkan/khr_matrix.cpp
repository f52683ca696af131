// A program of the build: SPIR-V with SPV_NV_cooperative_matrix in, the same with SPV_KHR_cooperative_matrix out. The
// two differ in their numbers, in that the KHR's types say what a matrix is used for, and in that its loads and stores
// take their layout as a number before the stride. usage: khr_matrix IN OUT
//
// Compilers before 2023 (Debian 12's among them) know the NV words alone, and drivers of other vendors the KHR's.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Words = std::vector<std::uint32_t>;

// Sources: the SPIR-V registry, "SPV_NV_cooperative_matrix" and "SPV_KHR_cooperative_matrix".
enum : std::uint32_t {
  kExtension = 10,
  kCapability = 17,
  kTypeInt = 21,
  kConstantTrue = 41,
  kConstantFalse = 42,
  kConstant = 43,
  kCapabilityNv = 5357,
  kTypeNv = 5358,
  kLoadNv = 5359,
  kStoreNv = 5360,
  kMulAddNv = 5361,
  kLengthNv = 5362,
  kCapabilityKhr = 6022,
  kTypeKhr = 4456,
  kLoadKhr = 4457,
  kStoreKhr = 4458,
  kMulAddKhr = 4459
};
constexpr std::size_t kHeader = 5;  // words; the fourth is one more than the largest id

struct Instruction {
  std::uint32_t code;
  Words operands;
};

std::vector<Instruction> parse(const Words& module) {
  if (module.size() < kHeader || module[0] != 0x07230203) throw std::runtime_error("this is not SPIR-V");
  std::vector<Instruction> all;
  for (std::size_t at = kHeader; at < module.size();) {
    const std::size_t count = module[at] >> 16;
    if (count == 0 || at + count > module.size()) throw std::runtime_error("an instruction has no end");
    all.push_back({module[at] & 0xffff,
                   Words(module.begin() + static_cast<long>(at) + 1, module.begin() + static_cast<long>(at + count))});
    at += count;
  }
  return all;
}

Instruction extension(const char* name) {
  Instruction made{kExtension, Words(std::strlen(name) / 4 + 1)};
  std::memcpy(made.operands.data(), name, std::strlen(name));
  return made;
}

class Translation {
 public:
  Translation(const std::vector<Instruction>& from, std::uint32_t bound) : from_(from), bound_(bound) { look(); }

  std::vector<Instruction> run() {
    for (const Instruction& of : from_) {
      translate(of);
      if (of.code == kTypeInt && of.operands[0] == uint_)  // the numbers 0, 1 and 2: uses, and layouts
        for (std::uint32_t i = 0; i < 3; ++i) out_.push_back({kConstant, {uint_, bound_ + i, i}});
    }
    return std::move(out_);
  }
  std::uint32_t bound() const { return bound_ + 3; }

 private:
  // Which types are factors, and of which side: by the products that take them.
  void look() {
    std::map<std::uint32_t, std::uint32_t> types;  // by value
    for (const Instruction& of : from_) {
      if (of.code == kTypeInt && of.operands[1] == 32 && of.operands[2] == 0) uint_ = of.operands[0];
      if (of.code == kConstantTrue || of.code == kConstantFalse) layouts_[of.operands[1]] = of.code == kConstantTrue;
      if (of.code == kTypeNv) uses_[of.operands[0]] = 2;
      if (of.operands.size() >= 2 && uses_.contains(of.operands[0])) types[of.operands[1]] = of.operands[0];
    }
    for (const Instruction& of : from_)
      for (std::uint32_t side = 0; side < 2 && of.code == kMulAddNv; ++side)
        uses_[types.at(of.operands[2 + side])] = side;
    if (!uint_) throw std::runtime_error("the module has no 32-bit unsigned integers");
  }
  std::uint32_t layout(std::uint32_t boolean) const { return bound_ + layouts_.at(boolean); }
  void put(std::uint32_t code, Words operands) { out_.push_back({code, std::move(operands)}); }

  void translate(const Instruction& of) {
    Words o = of.operands;
    switch (of.code) {
      case kCapability: return put(kCapability, {o[0] == kCapabilityNv ? +kCapabilityKhr : o[0]});
      case kExtension:
        if (std::string(reinterpret_cast<const char*>(o.data())) == "SPV_NV_cooperative_matrix")
          return out_.push_back(extension("SPV_KHR_cooperative_matrix"));
        return out_.push_back(of);
      case kTypeNv: return o.push_back(bound_ + uses_.at(o[0])), put(kTypeKhr, std::move(o));
      case kMulAddNv: return put(kMulAddKhr, std::move(o));
      case kLoadNv: {  // type, result, pointer, stride, layout, ...
        const std::uint32_t stride = o[3];
        o[3] = layout(o[4]);
        o[4] = stride;
        return put(kLoadKhr, std::move(o));
      }
      case kStoreNv: {  // pointer, object, stride, layout, ...
        const std::uint32_t stride = o[2];
        o[2] = layout(o[3]);
        o[3] = stride;
        return put(kStoreKhr, std::move(o));
      }
      case kLengthNv: throw std::runtime_error("a matrix's length is asked for, which is not translated");
      default: return out_.push_back(of);
    }
  }

  const std::vector<Instruction>& from_;
  std::uint32_t bound_, uint_ = 0;
  std::map<std::uint32_t, std::uint32_t> uses_;  // by type: 0 and 1 the factors, 2 the sum
  std::map<std::uint32_t, bool> layouts_;        // by boolean: true where columns are together
  std::vector<Instruction> out_;
};

void translate(const char* in, const char* out) {
  std::ifstream source(in, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(source), {}};
  Words module(bytes.size() / 4);
  std::memcpy(module.data(), bytes.data(), module.size() * 4);
  const std::vector<Instruction> from = parse(module);
  Translation translation(from, module[3]);
  Words to(module.begin(), module.begin() + kHeader);
  to[3] = translation.bound();
  for (const Instruction& of : translation.run()) {
    to.push_back(static_cast<std::uint32_t>(of.operands.size() + 1) << 16 | of.code);
    to.insert(to.end(), of.operands.begin(), of.operands.end());
  }
  std::ofstream target(out, std::ios::binary);
  target.write(reinterpret_cast<const char*>(to.data()), static_cast<std::streamsize>(to.size() * 4));
  if (!target.flush()) throw std::runtime_error(std::string(out) + " cannot be written");
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 3) throw std::runtime_error("expected IN and OUT");
    translate(arguments[1], arguments[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "khr_matrix: %s: %s\n", count > 1 ? arguments[1] : "", error.what());
    return 1;
  }
}
