// Launches one kernel of an engine on emulated threads, the way cuLaunchKernel takes it: an array of addresses of
// its arguments. TEMPORT_SOURCE is the kernel's file and TEMPORT_ENTRY its name.
#include <utility>

#include TEMPORT_SOURCE

template <class... A, size_t... I>
static void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}
template <class... A> static void call(void (*kernel)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}
template <class... A> static constexpr int count_of(void (*)(A...)) { return int(sizeof...(A)); }

extern "C" int launch_kernel(unsigned x, unsigned y, unsigned z, int threads, size_t shared, void** arguments,
                             int count) {
    if (count != count_of(TEMPORT_ENTRY)) return -1;
    return emulate::run(dim3(x, y, z), threads, shared, [&] { call(TEMPORT_ENTRY, arguments); });
}
