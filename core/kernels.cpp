// All arithmetic of the engine: compiled once per instruction set, each object exporting one table.
//
// Why the result does not depend on the machine: a vector's lanes hold different outputs, or different rows, so each number
// is one sum in one order (inputs ascending in (31), two halves where they are many, outputs ascending in (36), rows
// ascending in (35)), with one rounding per multiply-add, whatever the width, the layout, the tile or the number of threads.
//
// Only the table leaves this file; no STL, nothing inline with external linkage (why: simd.hpp).
#include "kernels.hpp"

#include "columns.hpp"
#include "distortion.hpp"
#include "gather.hpp"
#include "normal.hpp"
#include "panels.hpp"

namespace chainrule {
namespace {

template <class T>
constexpr Kernels<T> TABLE = {WIDTH<T>,
                              gather<T>,
                              distort<T>,
                              pack<T>,
                              unpack<T>,
                              forward<T>,
                              forward_half<T>,
                              join_halves<T>,
                              drop<T>,
                              displace<T>,
                              loss<T>,
                              backward<T>,
                              update<T>,
                              apply<T>,
                              squares<T>,
                              limit<T>,
                              confine<T>,
                              gather_columns<T>,
                              scatter_columns<T>,
                              forward_columns<T>,
                              derive_columns<T>,
                              activate<T>,
                              softmax_columns<T>,
                              softmax_slope<T>,
                              loss_columns<T>,
                              gradient_columns<T>,
                              step<T>,
                              forward_rows<T>,
                              outer_rows<T>,
                              add_gram<T>,
                              factor<T>,
                              solve<T>,
                              inverse_diagonal<T>,
                              evaluate<T>};

}  // namespace

extern const InstructionSet CHAINRULE_TABLE;
const InstructionSet CHAINRULE_TABLE = {CHAINRULE_NAME, TABLE<float>, TABLE<double>};

}  // namespace chainrule
