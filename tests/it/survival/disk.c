/*
 * The disk, the clock and the memory as a process sees them: loaded before the C library (LD_PRELOAD), for the tests of survival.
 *
 *   SHIM_DIR     the folder that is watched, absolute and resolved; needed for all but clock and memory
 *   SHIM_LOG     records what changes files and names there, every sync, and what is sent on sockets, in one order
 *   SHIM_POINTS  a text line for each point at which a write can fail: number, call, path
 *   SHIM_FAIL    "N:ERRNO" fails the N-th point once, "N+:ERRNO" it and all that follow
 *   SHIM_MEMORY  a file of eight bytes: while they are not 0, the C library has no memory for pieces of so many bytes and more.
 *                Libraries in C ask it; Rust has memory of its own
 *   SHIM_CLOCK   a file of eight bytes: seconds that are added to the wall clock, as an integer of the machine
 *
 * What another program of this kind would not see, this one does not see either: system calls that are made without the C
 * library. The tests compare what they rebuild from a whole record with the real folder, so nothing is missed in silence.
 */
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, LENGTH, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, RMDIR, SEND, LINK };
enum { UNKNOWN, WATCHED, SOCKET, OTHER };

#define FDS 65536
#define SENT_MAX 8192

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[PATH_MAX];
static size_t dir_length;
static int log_fd = -1, points_fd = -1;
static long fail_at = -1, points, tokens;
static int fail_errno, fail_on;
static unsigned char kinds[FDS];
static volatile int64_t *clock_offset, *memory_limit;

struct head {
    uint32_t op, path, path2, data;
    int64_t file, at, result;
};

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int raw_open(const char *path, int flags) { return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600); }

/* The number in a file, as it is at any time; NULL without a file. */
static volatile int64_t *number_in(const char *path) {
    if (!path) return NULL;
    int fd = raw_open(path, O_RDWR);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) _exit(99);
    return at;
}

__attribute__((constructor)) static void start(void) {
    const char *value = getenv("SHIM_DIR");
    if (value) {
        snprintf(dir, sizeof dir, "%s", value);
        dir_length = strlen(dir);
    }
    if ((value = getenv("SHIM_LOG"))) log_fd = raw_open(value, O_WRONLY | O_CREAT | O_APPEND);
    if ((value = getenv("SHIM_POINTS"))) points_fd = raw_open(value, O_WRONLY | O_CREAT | O_APPEND);
    if ((value = getenv("SHIM_FAIL"))) {
        char *rest;
        fail_at = strtol(value, &rest, 10);
        fail_on = *rest == '+';
        fail_errno = atoi(strchr(rest, ':') + 1);
    }
    clock_offset = number_in(getenv("SHIM_CLOCK"));
    memory_limit = number_in(getenv("SHIM_MEMORY"));
}

/* Whether a path is in the watched folder; it is made absolute. */
static int watched_path(const char *path, char *absolute) {
    if (!dir_length || !path) return 0;
    if (path[0] == '/') {
        snprintf(absolute, PATH_MAX, "%s", path);
    } else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        if (snprintf(absolute, PATH_MAX, "%s/%s", here, path) >= PATH_MAX) return 0;
    }
    return !strncmp(absolute, dir, dir_length) && (absolute[dir_length] == '/' || !absolute[dir_length]);
}

static int fd_path(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int kind_of(int fd) {
    if (fd <= 2 || fd >= FDS) return OTHER;
    if (kinds[fd] == UNKNOWN) {
        char path[PATH_MAX], absolute[PATH_MAX];
        if (!fd_path(fd, path)) return OTHER;
        kinds[fd] = !strncmp(path, "socket:", 7) ? SOCKET : path[0] == '/' && watched_path(path, absolute) ? WATCHED : OTHER;
    }
    return kinds[fd];
}

static int64_t file_of(int fd) {
    struct stat about;
    return fstat(fd, &about) ? -1 : (int64_t)about.st_ino;
}

static void put(int fd, const void *bytes, size_t length) {
    while (length) {
        ssize_t n = syscall(SYS_write, fd, bytes, length);
        if (n < 0 && errno != EINTR) _exit(98);
        if (n > 0) {
            bytes = (const char *)bytes + n;
            length -= (size_t)n;
        }
    }
}

/* With the lock held. */
static void note(uint32_t op, int64_t file, int64_t at, const char *path, const char *path2, const void *data, size_t length) {
    if (log_fd < 0) return;
    int saved = errno;
    struct head head = { op, path ? strlen(path) : 0, path2 ? strlen(path2) : 0, length, file, at, 0 };
    put(log_fd, &head, sizeof head);
    if (head.path) put(log_fd, path, head.path);
    if (head.path2) put(log_fd, path2, head.path2);
    if (length) put(log_fd, data, length);
    errno = saved;
}

/* With the lock held: whether this point is to fail. */
static int fails(const char *call, const char *path) {
    if (points_fd < 0) return 0;
    long n = ++points;
    int hit = fail_at >= 0 && (n == fail_at || (fail_on && n > fail_at));
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%ld %s %s%s\n", n, call, path + dir_length, hit ? " FAILED" : "");
    put(points_fd, line, (size_t)length);
    if (hit) errno = fail_errno;
    return hit;
}

static int fails_fd(const char *call, int fd) {
    char path[PATH_MAX];
    if (points_fd < 0 || !fd_path(fd, path)) return 0;
    return fails(call, path);
}

/* Files */

static int do_open(const char *path, int flags, mode_t mode) {
    char absolute[PATH_MAX];
    if (!watched_path(path, absolute)) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        if (fd >= 0 && fd < FDS) kinds[fd] = UNKNOWN;
        return fd;
    }
    pthread_mutex_lock(&lock);
    struct stat about;
    int there = !stat(absolute, &about);
    int creates = (flags & O_CREAT) && !there, cuts = (flags & O_TRUNC) && there && about.st_size > 0;
    int fd = -1;
    if (!((creates || cuts) && fails(creates ? "create" : "cut", absolute))) {
        fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        if (fd >= 0) {
            if (fd < FDS) kinds[fd] = WATCHED;
            if (creates) note(CREATE, file_of(fd), 0, absolute, NULL, NULL, 0);
            if (cuts) note(LENGTH, file_of(fd), 0, NULL, NULL, NULL, 0);
        }
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return do_open(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < FDS) kinds[fd] = UNKNOWN;
    return (int)syscall(SYS_close, fd);
}

static ssize_t sent(int fd, const void *data, size_t length, ssize_t (*send_it)(int, const void *, size_t, int), int flags) {
    if (log_fd >= 0) {
        pthread_mutex_lock(&lock);
        note(SEND, fd, 0, NULL, NULL, data, length < SENT_MAX ? length : SENT_MAX);
        pthread_mutex_unlock(&lock);
    }
    return send_it(fd, data, length, flags);
}

static ssize_t plain_write(int fd, const void *data, size_t length, int flags) {
    (void)flags;
    return syscall(SYS_write, fd, data, length);
}

static ssize_t plain_send(int fd, const void *data, size_t length, int flags) { return syscall(SYS_sendto, fd, data, length, flags, NULL, 0); }

static ssize_t do_write(int fd, const void *data, size_t length, int64_t at) {
    pthread_mutex_lock(&lock);
    ssize_t n = -1;
    if (!fails_fd("write", fd)) {
        n = at < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, at);
        if (n > 0) note(WRITE, file_of(fd), at < 0 ? lseek(fd, 0, SEEK_CUR) - n : at, NULL, NULL, data, (size_t)n);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return n;
}

ssize_t write(int fd, const void *data, size_t length) {
    switch (kind_of(fd)) {
    case WATCHED: return do_write(fd, data, length, -1);
    case SOCKET: return sent(fd, data, length, plain_write, 0);
    default: return syscall(SYS_write, fd, data, length);
    }
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    return kind_of(fd) == WATCHED ? do_write(fd, data, length, at) : syscall(SYS_pwrite64, fd, data, length, at);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return pwrite64(fd, data, length, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int kind = kind_of(fd);
    if (kind == WATCHED) return count > 0 ? do_write(fd, parts[0].iov_base, parts[0].iov_len, -1) : 0;
    if (kind == SOCKET && log_fd >= 0) {
        char all[SENT_MAX];
        size_t length = 0;
        for (int i = 0; i < count; i++) {
            size_t more = parts[i].iov_len < sizeof all - length ? parts[i].iov_len : sizeof all - length;
            memcpy(all + length, parts[i].iov_base, more);
            length += more;
        }
        pthread_mutex_lock(&lock);
        note(SEND, fd, 0, NULL, NULL, all, length);
        pthread_mutex_unlock(&lock);
    }
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t send(int fd, const void *data, size_t length, int flags) { return sent(fd, data, length, plain_send, flags); }

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    if (log_fd >= 0 && message->msg_iovlen > 0) {
        pthread_mutex_lock(&lock);
        size_t length = message->msg_iov[0].iov_len;
        note(SEND, fd, 0, NULL, NULL, message->msg_iov[0].iov_base, length < SENT_MAX ? length : SENT_MAX);
        pthread_mutex_unlock(&lock);
    }
    return syscall(SYS_sendmsg, fd, message, flags);
}

int ftruncate64(int fd, off64_t length) {
    if (kind_of(fd) != WATCHED) return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int done = fails_fd("length", fd) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
    if (!done) note(LENGTH, file_of(fd), length, NULL, NULL, NULL, 0);
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Syncs run beside writes: when one begins and when it ends are two notes. */
static int do_sync(const char *call, long number, int fd) {
    char path[PATH_MAX];
    if (kind_of(fd) != WATCHED || !fd_path(fd, path)) return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    long token = ++tokens;
    int failed = fails(call, path), saved = errno;
    if (!failed) note(SYNC_BEGIN, file_of(fd), token, path, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    if (failed) {
        errno = saved;
        return -1;
    }
    int done = (int)syscall(number, fd);
    if (!done) {
        pthread_mutex_lock(&lock);
        note(SYNC_END, 0, token, NULL, NULL, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return done;
}

int fsync(int fd) { return do_sync("fsync", SYS_fsync, fd); }
int fdatasync(int fd) { return do_sync("fdatasync", SYS_fdatasync, fd); }

/* No sync: it promises nothing after a power cut. But it can fail. */
int sync_file_range(int fd, off64_t from, off64_t length, unsigned int flags) {
    if (kind_of(fd) == WATCHED) {
        pthread_mutex_lock(&lock);
        int failed = fails_fd("sync_file_range", fd), saved = errno;
        pthread_mutex_unlock(&lock);
        if (failed) {
            errno = saved;
            return -1;
        }
    }
    return (int)syscall(SYS_sync_file_range, fd, from, length, flags);
}

/* Names */

static int named(const char *call, uint32_t op, const char *path, const char *path2, int (*change)(const char *, const char *, mode_t), mode_t mode) {
    char absolute[PATH_MAX], absolute2[PATH_MAX];
    int watched = watched_path(path, absolute);
    if (path2) watched |= watched_path(path2, absolute2);
    if (!watched) return change(path, path2, mode);
    pthread_mutex_lock(&lock);
    int done = fails(call, path2 ? absolute2 : absolute) ? -1 : change(path, path2, mode);
    if (!done) note(op, 0, 0, absolute, path2 ? absolute2 : NULL, NULL, 0);
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return done;
}

static int real_rename(const char *from, const char *to, mode_t mode) {
    (void)mode;
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int real_unlink(const char *path, const char *other, mode_t mode) {
    (void)other, (void)mode;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static int real_rmdir(const char *path, const char *other, mode_t mode) {
    (void)other, (void)mode;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

static int real_mkdir(const char *path, const char *other, mode_t mode) {
    (void)other;
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int rename(const char *from, const char *to) { return named("rename", RENAME, from, to, real_rename, 0); }
int unlink(const char *path) { return named("unlink", UNLINK, path, NULL, real_unlink, 0); }
int rmdir(const char *path) { return named("rmdir", RMDIR, path, NULL, real_rmdir, 0); }
int mkdir(const char *path, mode_t mode) { return named("mkdir", MKDIR, path, NULL, real_mkdir, mode); }

static int real_link(const char *from, const char *to, mode_t mode) {
    (void)mode;
    return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* The standard library of Rust links by this call, without folders of their own. */
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    if (from_dir != AT_FDCWD || to_dir != AT_FDCWD || flags) return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    return named("link", LINK, from, to, real_link, 0);
}

/* The clock */

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL("clock_gettime", int, clockid_t, struct timespec *);
    int done = real(clock, time);
    if (!done && clock == CLOCK_REALTIME && clock_offset) time->tv_sec += *clock_offset;
    return done;
}

/* Memory */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

static int has_none(size_t bytes) {
    if (!memory_limit || !*memory_limit || bytes < (size_t)*memory_limit) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes) { return has_none(bytes) ? NULL : __libc_malloc(bytes); }
void *calloc(size_t count, size_t bytes) { return bytes && has_none(count * bytes) ? NULL : __libc_calloc(count, bytes); }
void *realloc(void *old, size_t bytes) { return has_none(bytes) ? NULL : __libc_realloc(old, bytes); }
