// One kernel a compilation: -DBAND_ELEMENT=Bf16|Fp16 -DBAND_HEAD_DIM=N -DBAND_WARPS=N.
// Grid: tiles x KV heads; sizeof(Shared<BAND_HEAD_DIM>) bytes of dynamic shared memory.
#include "band_attention.cuh"

extern "C" __global__ void __launch_bounds__(BAND_WARPS * 32, 12 / BAND_WARPS)
    band_attention(const __grid_constant__ band::Launch launch) {
    extern __shared__ __align__(16) char memory[];
    band::attend<warp::BAND_ELEMENT, BAND_HEAD_DIM, BAND_WARPS>(launch, blockIdx.x, blockIdx.y,
                                                                memory);
}
