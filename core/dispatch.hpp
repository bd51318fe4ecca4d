// The compilations of kernels.cpp that this processor runs, best first.
#pragma once
#include <vector>

#include "kernels.hpp"

namespace chainrule {
std::vector<const InstructionSet*> runnable();
}
