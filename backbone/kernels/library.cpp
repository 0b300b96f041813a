// What the library says of itself, and the threads that it may use.

#include <atomic>

#include "maps.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

// Raised, with VERSION in __init__.py, whenever what a function takes or leaves means something else than before.
extern "C" int kernels_version() { return 1; }

// A forked process has none of the threads that its parent started, and GNU's OpenMP would wait for them for ever.
static std::atomic<bool> forked{false};

#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] static const int told = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

int threads_here(int wanted) { return forked ? 1 : std::max(wanted, 1); }
