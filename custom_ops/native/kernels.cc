// Compiled once per instruction set, with TEMPORT_ISA as its name and the compiler's flags for it.
#include "../block_linear_attention/kernel.h"
#include "../cached_attention/kernel.h"
#include "../cached_block_linear_attention/kernel.h"
#include "../fused_dense/kernel.h"
#include "../fused_gru/kernel.h"
#include "../fused_lstm/kernel.h"
#include "../moving_average/kernel.h"
#include "../online_softmax_attention/kernel.h"
#include "../residual_layer_norm/kernel.h"
#include "peak.h"

#define TEMPORT_STRING_(x) #x
#define TEMPORT_STRING(x) TEMPORT_STRING_(x)

namespace temport::TEMPORT_ISA {

extern const Kernels kKernels;
const Kernels kKernels = {
    TEMPORT_STRING(TEMPORT_ISA),
    plan_attention,
    run_attention<AttentionProblem>,
    single_row_floats,
    run_single_row,
    round_to_halves,
    plan_block_linear,
    run_block_linear<BlockLinearProblem>,
    linear_step_floats,
    run_linear_step,
    dense_elements,
    pack_dense,
    plan_dense,
    round_dense,
    run_dense,
    kRecurrence<LstmCell>,
    kRecurrence<GruCell>,
    run_moving_average<MovingAverageProblem>,
    plan_layer_norm,
    run_layer_norm,
    spend_flops,
};

}  // namespace temport::TEMPORT_ISA
