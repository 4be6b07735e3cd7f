/* A CUDA driver whose device memory is host memory: lets the buffer code run where there is no GPU.
 * A module is its text; a launch does nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = 0; return 0; }
int cuDeviceGetName(char* name, int length, int device) { strncpy(name, "host memory", length); return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
int cuDevicePrimaryCtxRetain(void** context, int device) { *context = 0; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void* context) { return 0; }
int cuCtxSynchronize(void) { return 0; }
int cuMemAlloc_v2(uint64_t* address, size_t size) {
    if (size > (1u << 28)) return 2;
    *address = (uint64_t)malloc(size);
    return 0;
}
int cuMemFree_v2(uint64_t address) { free((void*)address); return 0; }
int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t size) { memcpy((void*)to, from, size); return 0; }
int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t size) { memcpy(to, (void*)from, size); return 0; }
int cuModuleLoadData(const char** module, const char* text) {
    *module = text;
    return strstr(text, ".entry") ? 0 : 218;
}
int cuModuleGetFunction(void** function, const char* module, const char* name) {
    return strstr(module, name) ? 0 : 500;
}
int cuModuleUnload(const char* module) { return 0; }
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** arguments, void** extra) {
    return x && y && z && bx && by == 1 && bz == 1 && !stream && !extra ? 0 : 1;
}
