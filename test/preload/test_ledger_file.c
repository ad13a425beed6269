/* The ledger's file: where it comes to lie, what it survives, what it leaves. */
#define _GNU_SOURCE
#include "test/support/ledger_harness.h"

#include "preload/ledger_parts.h"
#include "preload/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int setup(void **state)
{
    (void)state;
    harness_reset();
    harness_dir();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    harness_remove_dir();
    return 0;
}

static void in_child(void (*fn)(void *))
{
    assert_int_equal(harness_in_child(fn, NULL), 0);
}

static uint64_t blocks_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static bool is_anonymous(void)
{
    return CW_P->view.header->flags & CW_HEADER_ANONYMOUS;
}

static void limit(__rlimit_resource_t resource, rlim_t soft)
{
    struct rlimit value = {soft, soft};
    HARNESS_CHECK(setrlimit(resource, &value) == 0);
}

/* --- a plain one --- */

static void check_plain(void *arg)
{
    (void)arg;
    unsigned fds = harness_count_fds();
    HARNESS_CHECK(harness_create() == 0);
    HARNESS_CHECK(harness_count_fds() == fds);
    HARNESS_CHECK(cw_ledger_dir_error() == 0);

    struct stat st;
    const char *path = CW_P->ledger_path;
    HARNESS_CHECK(CW_P->path_known && lstat(path, &st) == 0);
    HARNESS_CHECK(S_ISREG(st.st_mode) && (st.st_mode & 07777) == 0600 && st.st_uid == geteuid());
    HARNESS_CHECK(st.st_ino == CW_P->ledger_ino && st.st_dev == CW_P->ledger_dev);
    HARNESS_CHECK(blocks_of(path) <= 10 * 65536);

    const struct cw_ledger *header = CW_P->view.header;
    HARNESS_CHECK(!memcmp(header->magic, CW_LEDGER_MAGIC, 8) && header->version == CW_LEDGER_VERSION);
    HARNESS_CHECK(header->total_bytes == (uint64_t)st.st_size && header->flags == CW_HEADER_READY);
    uint64_t end = CW_LEDGER_HEADER_BYTES;
    for (unsigned i = 0; i < CW_SECTION_COUNT; i++) {
        const struct cw_section *section = &header->sections[i];
        HARNESS_CHECK(section->offset >= end && section->offset % 4096 == 0);
        end = section->offset + (uint64_t)section->capacity * section->stride;
    }
    HARNESS_CHECK(end <= header->total_bytes);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    HARNESS_CHECK(CW_P->view.n_slots == (files.rlim_max < 1024      ? 1024
                                         : files.rlim_max > 1 << 20 ? 1 << 20
                                                                    : files.rlim_max));
    HARNESS_CHECK(CW_P->view.n_conns == CW_P->view.n_slots + 16384);
    HARNESS_CHECK(header->sections[CW_SECTION_STRINGS].used == 1 && header->sections[CW_SECTION_SLOTS].used == 0);
}

static void plain(void **state)
{
    (void)state;
    in_child(check_plain);
}

static void check_identity(void *arg)
{
    char exe[512], name[300], command[1024], stat_text[1024];
    struct stat ns;
    (void)arg;
    HARNESS_CHECK(harness_create() == 0);
    const struct cw_ledger *header = CW_P->view.header;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n] = 0;
    HARNESS_CHECK(!strcmp(header->exe, exe) && header->exe_ino != 0);
    HARNESS_CHECK(header->pid == getpid() && header->ppid == getppid() && header->uid == getuid());
    HARNESS_CHECK(stat("/proc/self/ns/pid", &ns) == 0 && header->pid_ns == ns.st_ino);

    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t used = fread(command, 1, sizeof command - 2, file);
    fclose(file);
    HARNESS_CHECK(!memcmp(header->command, command, used) && !header->command[used]);
    file = fopen("/proc/self/stat", "r");
    stat_text[fread(stat_text, 1, sizeof stat_text - 1, file)] = 0;
    fclose(file);
    HARNESS_CHECK(header->start_ticks == cw_identity_ticks(stat_text) && header->start_ticks != 0);
    HARNESS_CHECK(header->process_start_mono_ns != 0);
    snprintf(name, sizeof name, "%s/%lu.%d.%lu.", cw_static.options.ledger_dir, (unsigned long)ns.st_ino, getpid(),
             (unsigned long)header->start_ticks);
    HARNESS_CHECK(!strncmp(CW_P->ledger_path, name, strlen(name)));
    HARNESS_CHECK(!strcmp(CW_P->ledger_path + strlen(CW_P->ledger_path) - 4, ".cwg"));
    gethostname(name, sizeof name);
    HARNESS_CHECK(!strcmp(header->host, name) && header->kernel[0] && header->tool_version[0]);
}

static void identity(void **state)
{
    (void)state;
    in_child(check_identity);
    /* A name with spaces and parentheses must not shift the fields. */
    assert_int_equal(cw_identity_ticks("1 (a) b (c) S 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 777 20"), 777);
    assert_int_equal(cw_identity_ticks("1 (a S 2 3"), 0);
    assert_int_equal(cw_identity_ticks("1 (a) S 2 3"), 0);
}

static void check_low_fds(void *arg)
{
    (void)arg;
    close(0);
    close(1);
    HARNESS_CHECK(harness_create() == 0 && !is_anonymous());
    HARNESS_CHECK(fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0);
    int fd = cw_ledger_open_again();
    HARNESS_CHECK(fd > 2 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    limit(RLIMIT_NOFILE, 16);
    int low = cw_fd_open(AT_FDCWD, "/dev/null", O_RDONLY, 0);
    HARNESS_CHECK(low > 2 && (fcntl(low, F_GETFD) & FD_CLOEXEC) && fcntl(0, F_GETFD) < 0);
}

static void low_fds(void **state)
{
    (void)state;
    in_child(check_low_fds);
}

/* --- real memory --- */

static void check_reserve(void *arg)
{
    (void)arg;
    HARNESS_CHECK(harness_create() == 0);
    uint32_t n = CW_P->view.n_conns;
    uint64_t before = blocks_of(CW_P->ledger_path);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, n, 1) == -ENOSPC);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, 1, UINT32_MAX) == -ENOSPC);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, n, 0) == 0);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, 5000, 4000) == 0);
    uint64_t grown = blocks_of(CW_P->ledger_path) - before;
    HARNESS_CHECK(grown >= 4000 * 256 && grown <= 4000 * 256 + 2 * 16384);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, 5000, 4000) == 0);
    HARNESS_CHECK(blocks_of(CW_P->ledger_path) - before == grown);
    memset(&CW_P->view.conns[5000], 7, 4000 * 256);
    HARNESS_CHECK(blocks_of(CW_P->ledger_path) - before == grown);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, n - 1, 1) == 0);
    CW_P->view.conns[n - 1].flags = 1;
}

static void reserve(void **state)
{
    (void)state;
    in_child(check_reserve);
}

static void check_size(void *arg)
{
    (void)arg;
    HARNESS_CHECK(harness_create() == 0);
    for (uint32_t i = 0; i < 19000; i++)
        HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, i + 1, 1) == 0 &&
                      cw_ledger_reserve(CW_SECTION_SLOTS, i % CW_P->view.n_slots, 1) == 0);
    HARNESS_CHECK(blocks_of(CW_P->ledger_path) < 8 << 20);
}

static void size_with_19000(void **state)
{
    (void)state;
    in_child(check_size);
}

static void *reserve_all(void *arg)
{
    uintptr_t failed = 0;
    (void)arg;
    for (uint32_t i = 0; i < 8192; i++) {
        failed |= cw_ledger_reserve(CW_SECTION_CONNS, i, 1) != 0;
        __atomic_fetch_add(&CW_P->view.conns[i].refs, 1, __ATOMIC_RELAXED);
    }
    return (void *)failed;
}

static void check_threads(void *arg)
{
    pthread_t threads[4];
    void *failed;
    (void)arg;
    HARNESS_CHECK(harness_create() == 0);
    for (unsigned i = 0; i < 4; i++)
        HARNESS_CHECK(pthread_create(&threads[i], NULL, reserve_all, NULL) == 0);
    for (unsigned i = 0; i < 4; i++)
        HARNESS_CHECK(pthread_join(threads[i], &failed) == 0 && !failed);
    for (uint32_t i = 0; i < 8192; i++)
        HARNESS_CHECK(CW_P->view.conns[i].refs == 4);
}

static void reserve_in_threads(void **state)
{
    (void)state;
    in_child(check_threads);
}

/* --- little room --- */

static void check_full(void *arg)
{
    const char *options = arg;
    const char *dir = cw_static.options.ledger_dir;
    HARNESS_CHECK(mount("tmpfs", dir, "tmpfs", 0, options) == 0);
    HARNESS_CHECK(harness_create() == 0);
    bool here = !strncmp(CW_P->ledger_path, dir, strlen(dir));
    if (CW_P->path_known && !here) {
        /* What was real in the place that was given up says nothing of this one. */
        const struct cw_section *sections = CW_P->view.header->sections;
        uint64_t chunks = 1;
        for (unsigned i = 1; i < CW_SECTION_COUNT; i++)
            chunks += sections[i].offset >> 14 != sections[i - 1].offset >> 14;
        HARNESS_CHECK(blocks_of(CW_P->ledger_path) >= chunks << 14);
    }
    /* Whatever it became: what could be reserved can be written, the rest is refused, and nobody dies. */
    unsigned refused = 0;
    for (uint32_t i = 1; i < 4096; i++) {
        if (cw_ledger_reserve(CW_SECTION_CONNS, i, 1) == 0)
            CW_P->view.conns[i].flags = 1;
        else
            refused++;
        CW_P->view.header->sections[CW_SECTION_CONNS].used = i + 1;
    }
    bool enough = !strncmp(options, "size=256k", 9) || !strncmp(options, "size=800k", 9);
    HARNESS_CHECK(here == enough);
    HARNESS_CHECK(here ? refused > 0 : refused == 0 && cw_ledger_dir_error() != 0);
    if (here) {
        /* A reader sees holes as zero, without filling them. */
        struct cw_view view;
        HARNESS_CHECK(cw_ledger_snapshot(&view) == 0 && view.n_conns == 4096);
        HARNESS_CHECK(view.conns[4095].flags == 0 && view.header->pid == getpid());
        int fd = cw_ledger_open_again();
        HARNESS_CHECK(fd >= 0);
        close(fd);
    }
    cw_ledger_remove();
}

static void full_with(const char *options)
{
    if (geteuid() != 0)
        skip();
    int status = harness_in_child(check_full, (void *)(uintptr_t)options);
    umount2(cw_static.options.ledger_dir, MNT_DETACH);
    assert_int_equal(status, 0);
}

static void full_tmpfs(void **state)
{
    (void)state;
    full_with("size=16k,mode=0700");  /* not even the header's chunk */
    full_with("size=64k,mode=0700");  /* no more than that */
    full_with("size=256k,mode=0700"); /* enough to begin with */
    full_with("size=800k,mode=0700");
}

static void check_no_file_size(void *arg)
{
    (void)arg;
    limit(RLIMIT_FSIZE, 0);
    HARNESS_CHECK(harness_create() == 0 && is_anonymous() && !CW_P->path_known);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, 1, 1000) == 0);
    memset(&CW_P->view.conns[1], 7, 1000 * 256);
    HARNESS_CHECK(cw_ledger_open_again() == -EFBIG);
}

static void check_small_file_size(void *arg)
{
    struct stat st;
    (void)arg;
    limit(RLIMIT_FSIZE, 3 << 20);
    HARNESS_CHECK(harness_create() == 0 && !is_anonymous());
    HARNESS_CHECK(stat(CW_P->ledger_path, &st) == 0 && st.st_size <= 3 << 20);
    HARNESS_CHECK(CW_P->view.n_slots >= 1024);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, 1, CW_P->view.n_conns - 1) == 0);
}

static void file_size_limit(void **state)
{
    (void)state;
    in_child(check_no_file_size);
    in_child(check_small_file_size);
}

static uint64_t address_space_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    HARNESS_CHECK(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return (uint64_t)pages * 4096;
}

static void check_address_space(void *arg)
{
    (void)arg;
    uint64_t before = address_space_bytes();
    limit(RLIMIT_AS, before + (64 << 20));
    HARNESS_CHECK(harness_create() == 0 && !is_anonymous());
    HARNESS_CHECK(address_space_bytes() - before < (before + (64 << 20)) / 16);
    HARNESS_CHECK(CW_P->view.n_slots >= 1024);
}

static void check_no_address_space(void *arg)
{
    (void)arg;
    limit(RLIMIT_AS, 4096);
    HARNESS_CHECK(cw_ledger_create() == -ENOMEM);
    HARNESS_CHECK(CW_P->view.header == NULL && !CW_P->path_known);
}

static void address_space_limit(void **state)
{
    (void)state;
    in_child(check_address_space);
    in_child(check_no_address_space);
}

static void check_few_fds(void *arg)
{
    (void)arg;
    limit(RLIMIT_NOFILE, 16);
    HARNESS_CHECK(harness_create() == 0 && !is_anonymous() && CW_P->view.n_slots == 1024);
}

static void check_no_fds(void *arg)
{
    (void)arg;
    limit(RLIMIT_NOFILE, 3);
    HARNESS_CHECK(harness_create() == 0 && is_anonymous() && cw_ledger_dir_error() == -EMFILE);
    HARNESS_CHECK(CW_P->view.header->pid == getpid());
}

static void fd_limit(void **state)
{
    struct cw_ledger_shape shape;
    (void)state;
    in_child(check_few_fds);
    in_child(check_no_fds);
    cw_shape_make(&shape, 1u << 20, 0);
    assert_true(shape.total_bytes < UINT64_C(512) << 20);
    assert_int_equal(shape.capacity[CW_SECTION_CONNS], (1u << 20) + 16384);
    uint64_t before = UINT64_MAX;
    for (unsigned level = 0; level < CW_SHAPE_LEVELS; level++) {
        cw_shape_make(&shape, 1u << 20, level);
        assert_true(shape.total_bytes < before);
        before = shape.total_bytes;
        uint32_t index = shape.capacity[CW_SECTION_STACK_INDEX];
        assert_int_equal(index & (index - 1), 0);
        assert_true(shape.capacity[CW_SECTION_THREADS] <= 65536);
    }
    assert_true(before < 1 << 20);
}

/* --- old kernels --- */

static void refuse(unsigned syscall_number, unsigned first_argument_at, unsigned value, unsigned answer)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, syscall_number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, args) + 8 * first_argument_at),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    HARNESS_CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    HARNESS_CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void check_cannot_populate(void *arg)
{
    struct stat st;
    (void)arg;
    refuse(SYS_madvise, 2, 23 /* MADV_POPULATE_WRITE */, SECCOMP_RET_ERRNO | EINVAL);
    HARNESS_CHECK(harness_create() == 0 && !is_anonymous());
    HARNESS_CHECK(stat(CW_P->ledger_path, &st) == 0 && st.st_blocks * 512 >= st.st_size);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, 1, CW_P->view.n_conns - 1) == 0);
    HARNESS_CHECK(cw_ledger_is_real((uint64_t)st.st_size - 1) && !cw_ledger_is_real((uint64_t)st.st_size));
}

static void kernel_without_populate(void **state)
{
    (void)state;
    in_child(check_cannot_populate);
}

/* --- places that must not be used --- */

static void falls_back(const char *dir, int expected)
{
    snprintf(cw_static.options.ledger_dir, sizeof cw_static.options.ledger_dir, "%s", dir);
    HARNESS_CHECK(harness_create() == 0);
    if (cw_ledger_dir_error() != expected)
        fprintf(stderr, "%s: %d instead of %d\n", dir, cw_ledger_dir_error(), expected);
    HARNESS_CHECK(cw_ledger_dir_error() == expected);
    HARNESS_CHECK(strncmp(CW_P->ledger_path, dir, strlen(dir)) != 0);
    HARNESS_CHECK(is_anonymous() || !strncmp(CW_P->ledger_path, "/dev/shm/cwguard-", 17));
    cw_ledger_remove();
}

static void check_bad_dirs(void *arg)
{
    char dir[256], path[300];
    (void)arg;
    snprintf(dir, sizeof dir, "%s", cw_static.options.ledger_dir);
    falls_back("relative", -EINVAL);
    falls_back("/dev/shm/cwguard-no/such/parent", -ENOENT);
    falls_back("/dev/null", -ENOTDIR);
    HARNESS_CHECK(chmod(dir, 0755) == 0);
    falls_back(dir, -EPERM);
    HARNESS_CHECK(chmod(dir, 0770) == 0);
    falls_back(dir, -EPERM);
    HARNESS_CHECK(chmod(dir, 0700) == 0);
    snprintf(path, sizeof path, "%s/link", dir);
    HARNESS_CHECK(symlink(dir, path) == 0);
    falls_back(path, -ENOTDIR);
    HARNESS_CHECK(unlink(path) == 0);
    HARNESS_CHECK(mkdir("/proc/self/cwguard", 0700) != 0);
    falls_back("/proc/self/fdinfo", -EPERM);
    if (geteuid() == 0) {
        HARNESS_CHECK(chown(dir, 65534, 65534) == 0);
        falls_back(dir, -EPERM);
        HARNESS_CHECK(chown(dir, 0, 0) == 0);
        HARNESS_CHECK(mount("none", dir, "ramfs", 0, "mode=0700") == 0);
        falls_back(dir, -EMEDIUMTYPE);
        HARNESS_CHECK(umount2(dir, MNT_DETACH) == 0);
    }
}

static void bad_dirs(void **state)
{
    (void)state;
    in_child(check_bad_dirs);
}

static void check_makes_dir(void *arg)
{
    struct stat st;
    char dir[256];
    (void)arg;
    snprintf(dir, sizeof dir, "%s", cw_static.options.ledger_dir);
    HARNESS_CHECK(rmdir(dir) == 0);
    umask(0);
    HARNESS_CHECK(harness_create() == 0 && !is_anonymous());
    HARNESS_CHECK(stat(dir, &st) == 0 && (st.st_mode & 07777) == 0700);
    HARNESS_CHECK(stat(CW_P->ledger_path, &st) == 0 && (st.st_mode & 07777) == 0600);
}

static void makes_dir(void **state)
{
    (void)state;
    in_child(check_makes_dir);
}

static void check_filter_without_files(void *arg)
{
    (void)arg;
    cw_static.may = 0;
    refuse(SYS_ftruncate, 0, 0xFFFFFFFF, SECCOMP_RET_ALLOW); /* only to be under a filter at all */
    HARNESS_CHECK(harness_create() == 0 && is_anonymous());
    HARNESS_CHECK(CW_P->view.header->exe[0] && CW_P->view.header->host[0] && CW_P->view.header->kernel[0]);
}

static void filter_without_files(void **state)
{
    (void)state;
    in_child(check_filter_without_files);
}

/* --- dead ones --- */

static void make_dead(const char *name, unsigned mib, time_t age_s)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", cw_static.options.ledger_dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    HARNESS_CHECK(fd >= 0 && fallocate(fd, 0, 0, (off_t)mib << 20) == 0);
    struct timespec times[2] = {{.tv_sec = time(NULL) - age_s}, {.tv_sec = time(NULL) - age_s}};
    HARNESS_CHECK(futimens(fd, times) == 0);
    close(fd);
}

static bool is_there(const char *name)
{
    char path[400];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", cw_static.options.ledger_dir, name);
    return lstat(path, &st) == 0;
}

static pid_t dead_pid(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED);
    return pid;
}

static void check_prune(void *arg)
{
    char oldest[96], older[96], newest[96], alive[96], reused[96], before_exec[96], elsewhere[96];
    struct cw_identity self, parent = {0};
    char path[64], text[1024];
    unsigned long ns;
    (void)arg;
    cw_identity_of_self(&self);
    ns = (unsigned long)self.pid_ns;
    parent.pid = getppid();
    snprintf(path, sizeof path, "/proc/%d/stat", parent.pid);
    HARNESS_CHECK(cw_file_read(path, text, sizeof text) > 0);
    parent.start_ticks = cw_identity_ticks(text);

    int gone = dead_pid();
    snprintf(oldest, sizeof oldest, "%lu.%d.1.a.cwg", ns, gone);
    snprintf(older, sizeof older, "%lu.%d.1.b.cwg", ns, gone);
    snprintf(newest, sizeof newest, "%lu.%d.1.c.cwg", ns, gone);
    snprintf(alive, sizeof alive, "%lu.%d.%lu.d.cwg", ns, parent.pid, (unsigned long)parent.start_ticks);
    snprintf(reused, sizeof reused, "%lu.%d.%lu.e.cwg", ns, parent.pid, (unsigned long)parent.start_ticks + 1);
    snprintf(before_exec, sizeof before_exec, "%lu.%d.%lu.f.cwg", ns, self.pid, (unsigned long)self.start_ticks);
    snprintf(elsewhere, sizeof elsewhere, "%lu.%d.1.a.cwg", ns + 1, gone);
    make_dead(alive, 10, 1000);
    make_dead(elsewhere, 10, 1000);
    make_dead("notes.txt", 1, 1000);
    make_dead("1.2.3.x.cwg", 1, 1000);
    make_dead(oldest, 20, 900);
    make_dead(older, 20, 800);
    make_dead(reused, 20, 700);
    make_dead(before_exec, 20, 600);
    make_dead(newest, 20, 500);
    HARNESS_CHECK(harness_create() == 0 && !is_anonymous());
    HARNESS_CHECK(!is_there(oldest) && !is_there(older) && is_there(newest));
    HARNESS_CHECK(is_there(reused) && is_there(before_exec)); /* dead as well, but 60 MiB may stay */
    HARNESS_CHECK(is_there(alive) && is_there(elsewhere) && is_there("notes.txt") && is_there("1.2.3.x.cwg"));

    make_dead(oldest, 50, 650);
    cw_ledger_remove();
    HARNESS_CHECK(!is_there(before_exec)); /* it was kept for the report of the same process */
    HARNESS_CHECK(harness_create() == 0);
    HARNESS_CHECK(!is_there(reused) && !is_there(oldest) && is_there(newest) && is_there(alive));
}

static void check_prune_quarter(void *arg)
{
    char old[96], new[96];
    struct cw_identity self;
    (void)arg;
    HARNESS_CHECK(mount("tmpfs", cw_static.options.ledger_dir, "tmpfs", 0, "size=16m,mode=0700") == 0);
    cw_identity_of_self(&self);
    int gone = dead_pid();
    snprintf(old, sizeof old, "%lu.%d.1.a.cwg", (unsigned long)self.pid_ns, gone);
    snprintf(new, sizeof new, "%lu.%d.1.b.cwg", (unsigned long)self.pid_ns, gone);
    make_dead(old, 3, 100);
    make_dead(new, 2, 50);
    HARNESS_CHECK(harness_create() == 0 && !is_anonymous() && !is_there(old) && is_there(new));
}

/* A younger one that nobody will ask for goes before an older one that holds evidence. */
static void check_prune_reported(void *arg)
{
    static struct cw_ledger header = {.version = CW_LEDGER_VERSION, .flags = CW_HEADER_READY | CW_HEADER_REPORTED};
    char reported[96], older[96], path[512];
    struct cw_identity self;
    (void)arg;
    cw_identity_of_self(&self);
    int gone = dead_pid();
    snprintf(reported, sizeof reported, "%lu.%d.1.a.cwg", (unsigned long)self.pid_ns, gone);
    snprintf(older, sizeof older, "%lu.%d.1.b.cwg", (unsigned long)self.pid_ns, gone);
    make_dead(older, 40, 900);
    make_dead(reported, 40, 500);
    memcpy(header.magic, CW_LEDGER_MAGIC, sizeof header.magic);
    snprintf(path, sizeof path, "%s/%s", cw_static.options.ledger_dir, reported);
    int fd = open(path, O_WRONLY);
    HARNESS_CHECK(fd >= 0 && write(fd, &header, sizeof header) == (ssize_t)sizeof header && close(fd) == 0);
    HARNESS_CHECK(harness_create() == 0 && !is_there(reported) && is_there(older));
}

static void prune_reported(void **state)
{
    (void)state;
    in_child(check_prune_reported);
}

static void prune(void **state)
{
    (void)state;
    in_child(check_prune);
}

static void prune_quarter(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    int status = harness_in_child(check_prune_quarter, NULL);
    umount2(cw_static.options.ledger_dir, MNT_DETACH);
    assert_int_equal(status, 0);
}

static void check_prune_many(void *arg)
{
    char name[96];
    struct cw_identity self;
    unsigned left = 0;
    (void)arg;
    cw_identity_of_self(&self);
    int gone = dead_pid();
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "%lu.%d.1.%x.cwg", (unsigned long)self.pid_ns, gone, i);
        make_dead(name, 1, 1000 - (time_t)i);
    }
    /* At most 256 are looked at in one go; the second start finishes it. */
    for (int i = 0; i < 2; i++) {
        HARNESS_CHECK(harness_create() == 0);
        cw_ledger_remove();
    }
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "%lu.%d.1.%x.cwg", (unsigned long)self.pid_ns, gone, i);
        left += is_there(name);
    }
    HARNESS_CHECK(left == 64);
}

static void prune_many(void **state)
{
    (void)state;
    in_child(check_prune_many);
}

/* --- again --- */

static void check_open_again(void *arg)
{
    static char copy[8192];
    struct stat st;
    (void)arg;
    HARNESS_CHECK(harness_create() == 0);
    harness_leak(700);
    int fd = cw_ledger_open_again();
    HARNESS_CHECK(fd > 2 && fstat(fd, &st) == 0 && st.st_ino == CW_P->ledger_ino);
    HARNESS_CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
    close(fd);

    /* Another file under the same name is not ours: it is neither opened nor removed. */
    char path[sizeof CW_P->ledger_path];
    memcpy(path, CW_P->ledger_path, sizeof path);
    HARNESS_CHECK(unlink(path) == 0 && (fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0);
    close(fd);
    fd = cw_ledger_open_again();
    HARNESS_CHECK(fd > 2 && fstat(fd, &st) == 0 && st.st_ino != CW_P->ledger_ino);
    HARNESS_CHECK((uint64_t)st.st_size == CW_P->view.header->total_bytes);
    HARNESS_CHECK(pread(fd, copy, sizeof copy, 0) == sizeof copy && !memcmp(copy, CW_P->view.header, sizeof copy));
    const struct cw_section *conns = &CW_P->view.header->sections[CW_SECTION_CONNS];
    HARNESS_CHECK(pread(fd, copy, 256, (off_t)conns->offset + 700 * 256) == 256);
    HARNESS_CHECK(!memcmp(copy, &CW_P->view.conns[700], 256));
    HARNESS_CHECK(st.st_blocks * 512 < 2 << 20);
    close(fd);
    cw_ledger_remove();
    HARNESS_CHECK(stat(path, &st) == 0 && !CW_P->path_known);
}

static void open_again(void **state)
{
    (void)state;
    in_child(check_open_again);
}

static void check_snapshot(void *arg)
{
    struct cw_view view;
    (void)arg;
    HARNESS_CHECK(harness_create() == 0);
    harness_leak(700);
    HARNESS_CHECK(cw_ledger_snapshot(&view) == 0);
    HARNESS_CHECK(view.n_conns == 701 && view.conns != CW_P->view.conns);
    HARNESS_CHECK(!memcmp(&view.conns[1], &CW_P->view.conns[1], 700 * 256));
    HARNESS_CHECK(!strcmp(view.header->exe, CW_P->view.header->exe));
    HARNESS_CHECK(strchr(cw_view_string(&view, view.modules[1].path), '/') != NULL);
    view.conns[1].flags = 0;
    HARNESS_CHECK(CW_P->view.conns[1].flags != 0);
}

static void snapshot(void **state)
{
    (void)state;
    in_child(check_snapshot);
}

static void grandchild(void *arg)
{
    const char *parents = arg;
    HARNESS_CHECK(CW_P->ledger_path[0]);
    memset(&cw_process_page, 0, sizeof cw_process_page); /* as MADV_WIPEONFORK does */
    cw_ledger_remove();
    HARNESS_CHECK(access(parents, F_OK) == 0);
    HARNESS_CHECK(harness_create() == 0);
    HARNESS_CHECK(strcmp(CW_P->ledger_path, parents) != 0 && CW_P->view.header->pid == getpid());
    /* What the parent had made real says nothing of ours. */
    HARNESS_CHECK(!cw_ledger_is_real(CW_P->view.header->sections[CW_SECTION_CONNS].offset + 1000 * 256));
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, 1, 2000) == 0);
    memset(&CW_P->view.conns[1], 1, 2000 * 256);
}

static void check_fork(void *arg)
{
    char path[sizeof CW_P->ledger_path];
    (void)arg;
    HARNESS_CHECK(harness_create() == 0);
    HARNESS_CHECK(cw_ledger_reserve(CW_SECTION_CONNS, 1, 2000) == 0);
    memcpy(path, CW_P->ledger_path, sizeof path);
    HARNESS_CHECK(harness_in_child(grandchild, path) == 0);
    HARNESS_CHECK(CW_P->view.header->pid == getpid() && CW_P->view.conns[1].flags == 0);
}

static void forked_child(void **state)
{
    (void)state;
    in_child(check_fork);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CW_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        CW_TEST(plain),
        CW_TEST(identity),
        CW_TEST(low_fds),
        CW_TEST(reserve),
        CW_TEST(size_with_19000),
        CW_TEST(reserve_in_threads),
        CW_TEST(full_tmpfs),
        CW_TEST(file_size_limit),
        CW_TEST(address_space_limit),
        CW_TEST(fd_limit),
        CW_TEST(kernel_without_populate),
        CW_TEST(bad_dirs),
        CW_TEST(makes_dir),
        CW_TEST(filter_without_files),
        CW_TEST(prune),
        CW_TEST(prune_quarter),
        CW_TEST(prune_reported),
        CW_TEST(prune_many),
        CW_TEST(open_again),
        CW_TEST(snapshot),
        CW_TEST(forked_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
