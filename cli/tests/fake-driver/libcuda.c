// A driver of NVIDIA's that fails as FAKE_DRIVER says: for tests on machines without a GPU.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile int stuck;

static int state(const char *name) {
    const char *asked = getenv("FAKE_DRIVER");
    return asked && !strcmp(asked, name);
}

static void hang(void) {
    stuck = 1;
    for (;;) pause();
}

// The true driver cleans up when the program ends, and waits for the lock that a stuck call holds.
__attribute__((destructor)) static void at_exit(void) {
    if (stuck) for (;;) pause();
}

int cuInit(unsigned flags) {
    (void)flags;
    if (state("silent")) hang();
    return state("no_device") ? 100 : state("not_ready") ? 802 : 0;
}

int cuDriverGetVersion(int *version) {
    *version = state("old_driver") ? 12040 : 13000;
    return 0;
}

int cuDeviceGetCount(int *count) {
    *count = 1;
    return 0;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    strncpy(name, "Fake GPU", length);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = 80000000000;
    return 0;
}

// Compute capability: attributes 75 and 76.
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? (state("old_gpu") ? 7 : 9) : attribute == 76 ? (state("old_gpu") ? 5 : 0) : 1;
    return 0;
}

int cuGetErrorString(int error, const char **text) {
    *text = error == 2 ? "out of memory" : error == 802 ? "system not yet initialized" : "an error";
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    if (state("silent_gpu")) hang();
    *context = (void *)1;
    return state("full") ? 2 : 0;
}

int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuCtxSetCurrent(void *context) { (void)context; return 0; }
int cuStreamCreate(void **stream, unsigned flags) { (void)flags; *stream = (void *)1; return 0; }
int cuStreamDestroy_v2(void *stream) { (void)stream; return 0; }
int cuModuleLoadData(void **module, const void *image) { (void)module; (void)image; return state("no_kernels") ? 209 : 700; }
int cuModuleUnload(void *module) { (void)module; return 0; }
