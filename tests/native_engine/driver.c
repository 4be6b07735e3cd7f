/* Runs a native engine over the frames in inputs.bin and writes outputs.bin, on whatever target it is compiled for: a
 * processor with a C library, or one without, whose debugger reads and writes the files (semihosting).
 *
 * inputs.bin holds the inputs of the first frame as the table has them, those of the second, ...; outputs.bin the outputs
 * of every frame, and behind them the states after the last. Open axes have their largest size. */
#include "temport_engine.h"

#ifndef MEMORY_BYTES
#define MEMORY_BYTES (1 << 20)
#endif

static uint8_t memory[MEMORY_BYTES] __attribute__((aligned(64)));
static uint64_t given[1 << 12], made[1 << 12], kept[1 << 15];

#if defined(__arm__) && !defined(__linux__)
static int32_t ask(int32_t what, const void* arguments) {
  register int32_t r0 __asm__("r0") = what;
  register const void* r1 __asm__("r1") = arguments;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}
typedef int32_t File;
static File open_file(const char* name, int32_t length, int writes) {
  const uint32_t arguments[] = {(uint32_t)name, writes ? 5 : 1, (uint32_t)length};
  return ask(0x01, arguments);
}
static int read_all(File file, void* to, size_t bytes) {
  const uint32_t arguments[] = {(uint32_t)file, (uint32_t)to, bytes};
  return ask(0x06, arguments) == 0;
}
static int write_all(File file, const void* from, size_t bytes) {
  const uint32_t arguments[] = {(uint32_t)file, (uint32_t)from, bytes};
  return ask(0x05, arguments) == 0;
}
static void end(int code, File output) {
  const uint32_t close[] = {(uint32_t)output}, arguments[] = {0x20026, (uint32_t)code};
  ask(0x02, close);
  ask(0x20, arguments);
}
#else
#include <stdio.h>
#include <stdlib.h>
typedef FILE* File;
static File open_file(const char* name, int32_t length, int writes) {
  (void)length;
  return fopen(name, writes ? "wb" : "rb");
}
static int read_all(File file, void* to, size_t bytes) { return fread(to, 1, bytes, file) == bytes; }
static int write_all(File file, const void* from, size_t bytes) { return fwrite(from, 1, bytes, file) == bytes; }
static void end(int code, File output) {
  fclose(output);
  exit(code);
}
#endif

static size_t bytes_of(const temport_engine_tensor* tensor) {
  size_t bytes = tensor->dtype == 7 ? 8 : tensor->dtype == 1 || tensor->dtype == 6 ? 4 : tensor->dtype == 10 ? 2 : 1;
  for (int32_t i = 0; i < tensor->rank; ++i) bytes *= (size_t)tensor->shape[i];
  return (bytes + 7) / 8 * 8;
}
/* Where tensors lie one after the other, each at a multiple of 8 bytes; returns how many bytes they take together. */
static size_t place(const temport_engine_tensor* tensors, uint32_t count, uint8_t* base, void** at) {
  size_t offset = 0;
  for (uint32_t i = 0; i < count; offset += bytes_of(&tensors[i++])) at[i] = base + offset;
  return offset;
}

int main(void) {
  const temport_engine* engine = temport_engine_of_this_library();
  void *inputs[16], *outputs[16], *states[64];
  int64_t sizes[8];
  const File input = open_file("inputs.bin", 10, 0), output = open_file("outputs.bin", 11, 1);
  if (engine->memory_bytes > sizeof memory) end(9, output);
  for (uint32_t i = 0; i < engine->axis_count; ++i) sizes[i] = engine->axis[i].max;
  const size_t takes = place(engine->input, engine->input_count, (uint8_t*)given, inputs);
  const size_t gives = place(engine->output, engine->output_count, (uint8_t*)made, outputs);
  if (takes > sizeof given || gives > sizeof made) end(9, output);
  engine->reset(memory);
  while (read_all(input, given, takes)) {
    const int code = engine->run(memory, sizes, (const void* const*)inputs, outputs, 0);
    if (code) end(code, output);
    write_all(output, made, gives);
  }
  const size_t keeps = place(engine->state, engine->state_count, (uint8_t*)kept, states);
  if (keeps > sizeof kept) end(9, output);
  engine->store(memory, sizes, states);
  write_all(output, kept, keeps);
  end(0, output);
  return 0;
}
