// Chooses by what the processor says of itself: a build for another instruction set loads without complaint, and fails
// only when it runs.
#include "dispatch.hpp"

namespace chainrule {

#if defined(__x86_64__)
extern const InstructionSet x86_64_v3, x86_64_v4;
#if defined(CHAINRULE_TEST_WIDTHS)
extern const InstructionSet narrow, wide;
#endif
#elif defined(__aarch64__)
extern const InstructionSet neon;
#endif

std::vector<const InstructionSet*> runnable() {
  std::vector<const InstructionSet*> sets;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (v4) sets.push_back(&x86_64_v4);
  if (v3) sets.push_back(&x86_64_v3);
#if defined(CHAINRULE_TEST_WIDTHS)
  if (v3) sets.insert(sets.end(), {&narrow, &wide});
#endif
#elif defined(__aarch64__)
  sets.push_back(&neon);
#endif
  return sets;
}

}  // namespace chainrule
