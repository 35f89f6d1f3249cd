/* Lets the Nth of certain calls on files below a folder fail. Preloaded; told what to do by its environment:
 *   TORTURE_STATE   a file of zeroes that all processes map: how many failed, how many calls of each name there were
 *   TORTURE_UNDER   the folder
 *   TORTURE_CALL    fsync, fdatasync, pwrite, write, rename, ftruncate or open
 *   TORTURE_FIRST   which one is the first to fail, 0 for none
 *   TORTURE_TIMES   how many fail from there on
 *   TORTURE_ERRNO   with what
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static const char *const names[] = {"fsync", "fdatasync", "pwrite", "write", "rename", "ftruncate", "open"};
#define NAMES ((int)(sizeof names / sizeof *names))

struct state {
    long failed;
    long calls[7];
    char path[4032]; /* of the first that failed */
};

static struct state *state;
static const char *under, *wanted;
static long first, times;
static int error;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("TORTURE_STATE");
    under = getenv("TORTURE_UNDER");
    wanted = getenv("TORTURE_CALL");
    first = number("TORTURE_FIRST");
    times = number("TORTURE_TIMES");
    error = (int)number("TORTURE_ERRNO");
    if (!file || !under || !wanted)
        return;
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = real(file, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        state = mapped;
}

static int fails(const char *call, const char *path) {
    if (strncmp(path, under, strlen(under)))
        return 0;
    int name = 0;
    while (name < NAMES && strcmp(names[name], call))
        name++;
    long n = __sync_add_and_fetch(&state->calls[name], 1);
    if (strcmp(call, wanted) || !first || n < first || n >= first + times)
        return 0;
    if (__sync_add_and_fetch(&state->failed, 1) == 1)
        strncpy(state->path, path, sizeof state->path - 1);
    errno = error;
    return 1;
}

static int path_fails(const char *call, int folder, const char *path) {
    char whole[4096], link[64];
    ssize_t length;
    if (!state)
        return 0;
    if (path && path[0] == '/')
        return fails(call, path);
    if (path && folder == AT_FDCWD)
        return getcwd(whole, sizeof whole) ? fails(call, whole) : 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, whole, sizeof whole - 1);
    if (length < 0)
        return 0;
    whole[length] = 0;
    return fails(call, whole);
}

#define REAL(name, result, ...)                                          \
    static result (*real)(__VA_ARGS__);                                  \
    if (!real)                                                           \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

int fsync(int fd) {
    REAL("fsync", int, int);
    return path_fails("fsync", fd, NULL) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL("fdatasync", int, int);
    return path_fails("fdatasync", fd, NULL) ? -1 : real(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL("write", ssize_t, int, const void *, size_t);
    return path_fails("write", fd, NULL) ? -1 : real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL("pwrite", ssize_t, int, const void *, size_t, off_t);
    return path_fails("pwrite", fd, NULL) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL("pwrite64", ssize_t, int, const void *, size_t, off64_t);
    return path_fails("pwrite", fd, NULL) ? -1 : real(fd, data, size, at);
}

int ftruncate(int fd, off_t size) {
    REAL("ftruncate", int, int, off_t);
    return path_fails("ftruncate", fd, NULL) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL("ftruncate64", int, int, off64_t);
    return path_fails("ftruncate", fd, NULL) ? -1 : real(fd, size);
}

int rename(const char *from, const char *to) {
    REAL("rename", int, const char *, const char *);
    return path_fails("rename", AT_FDCWD, to) ? -1 : real(from, to);
}

int renameat(int old, const char *from, int new, const char *to) {
    REAL("renameat", int, int, const char *, int, const char *);
    return path_fails("rename", new, to) ? -1 : real(old, from, new, to);
}

int renameat2(int old, const char *from, int new, const char *to, unsigned flags) {
    REAL("renameat2", int, int, const char *, int, const char *, unsigned);
    return path_fails("rename", new, to) ? -1 : real(old, from, new, to, flags);
}

/* Only those that make a file or may write to one: what a full or broken disk refuses. */
#define OPENING(flags) (((flags) & (O_CREAT | O_WRONLY | O_RDWR)) != 0)

static mode_t mode_of(int flags, va_list more) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(more, int) : 0;
}

#define OPEN(name)                                                       \
    int name(const char *path, int flags, ...) {                         \
        va_list more;                                                    \
        REAL(#name, int, const char *, int, ...);                        \
        va_start(more, flags);                                           \
        mode_t mode = mode_of(flags, more);                              \
        va_end(more);                                                    \
        if (OPENING(flags) && path_fails("open", AT_FDCWD, path))        \
            return -1;                                                   \
        return real(path, flags, mode);                                  \
    }

#define OPENAT(name)                                                     \
    int name(int folder, const char *path, int flags, ...) {             \
        va_list more;                                                    \
        REAL(#name, int, int, const char *, int, ...);                   \
        va_start(more, flags);                                           \
        mode_t mode = mode_of(flags, more);                              \
        va_end(more);                                                    \
        if (OPENING(flags) && path_fails("open", folder, path))          \
            return -1;                                                   \
        return real(folder, path, flags, mode);                          \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
