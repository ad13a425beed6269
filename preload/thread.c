/* Threads: who touches sockets, whether they wait, and when they exit. */
#define _GNU_SOURCE
#include "preload/thread.h"

#include "preload/kernel.h"
#include "preload/probe.h"
#include "preload/record.h"
#include "preload/sys.h"

#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

/* A key's destructor runs as its thread exits, by return, pthread_exit or cancellation, the main thread's pthread_exit
 * included; a process that ends as a whole runs none. glibc keeps the first 32 keys' values in the thread itself
 * (PTHREAD_KEY_2NDLEVEL_SIZE), so that setting one neither allocates nor locks; with a later key exits stay unknown. */
#define KEYS_IN_THREAD 32u
static pthread_key_t exit_key;
static bool exit_key_made;

static void on_exit_of_thread(void *value)
{
    (void)value;
    struct cw_tls *tls = &cw_tls;
    if (!CW_GET(CW_P->live) || tls->epoch != CW_GET(CW_P->epoch) || cw_vforked())
        return;
    struct cw_thread *thread = cw_thread_record(tls->own_ref);
    if (!thread)
        return;
    tls->thread_ref = 0; /* other destructors may run later, and touch sockets: cw_thread_back */
    CW_SET(thread->in_wait, 0);
    CW_SET(thread->waiting_set, 0);
    CW_SET(thread->exit_ms, cw_now_ms());
}

/* Any value but NULL asks for the destructor. What somebody else has put there, by a key that was never his, stays. */
static void ask_for_exit(void)
{
    if (exit_key_made && !pthread_getspecific(exit_key))
        pthread_setspecific(exit_key, &exit_key);
}

/* Not key 0: it is what a program has in a variable that it has not initialised, and what it then gets, sets or deletes. */
static int key_create(pthread_key_t *ret)
{
    pthread_key_t zero;
    int failed = pthread_key_create(ret, on_exit_of_thread);
    if (failed || *ret != 0)
        return failed;
    zero = *ret;
    failed = pthread_key_create(ret, on_exit_of_thread);
    pthread_key_delete(zero);
    return failed;
}

void cw_thread_init(void)
{
    pthread_key_t key;
    if (key_create(&key))
        return;
    if (key >= KEYS_IN_THREAD) {
        pthread_key_delete(key);
        return;
    }
    exit_key = key;
    exit_key_made = true;
}

struct cw_thread *cw_thread_record(uint32_t reference)
{
    uint32_t index = CW_THREAD_INDEX(reference);
    return index ? &CW_P->view.threads[index] : NULL;
}

/* A record whose thread is gone, when all have been handed out: a few are looked at per call. */
static uint32_t reuse_thread(void)
{
    static uint32_t cursor;
    uint32_t used = cw_table_used(&cw_table, CW_SECTION_THREADS);
    for (unsigned tries = 0; used > 1 && tries < 16 && cw_kernel_may(CW_MAY_SIGNALS); tries++) {
        uint32_t index = 1 + CW_ADD(cursor, 1) % (used - 1);
        struct cw_thread *thread = &CW_P->view.threads[index];
        uint32_t generation = CW_GET(thread->generation);
        if (cw_sys(SYS_tgkill, CW_P->pid, CW_GET(thread->tid), 0) == -ESRCH &&
            __atomic_compare_exchange_n(&thread->generation, &generation, (generation + 1) & 0xFFFF, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return index;
    }
    cw_count(CW_COUNTER_table_full);
    return 0;
}

/* The record may have been another thread's: nothing of that one stays. */
static void begin_record(struct cw_thread *thread, int32_t tid, uint32_t now_ms)
{
    CW_SET(thread->exit_ms, 0);
    CW_SET(thread->in_wait, 0);
    CW_SET(thread->waiting_set, 0);
    CW_SET(thread->wait_ms, 0);
    CW_SET(thread->wait_stack, 0);
    CW_SET(thread->wait_call, 0);
    CW_SET(thread->wait_res, 0);
    CW_SET(thread->k_ms, 0);
    CW_SET(thread->k_stack, 0);
    CW_SET(thread->k_object, 0);
    CW_SET(thread->k_syscall, 0);
    CW_SET(thread->k_state, 0);
    CW_SET(thread->k_errno, 0);
    CW_SET(thread->tid, tid);
    CW_SET(thread->first_ms, now_ms);
    char name[16] = "";
    if (cw_kernel_may(CW_MAY_CLONE)) /* prctl was tried along with it */
        cw_sys(SYS_prctl, PR_GET_NAME, name, 0, 0, 0);
    __builtin_memcpy(thread->name, name, sizeof thread->name);
}

uint32_t cw_thread_self(uint32_t now_ms)
{
    struct cw_tls *tls = &cw_tls;
    uint32_t epoch = CW_GET(CW_P->epoch);
    if (tls->epoch == epoch && tls->own_ref)
        return tls->own_ref;
    uint32_t index = cw_table_new_thread(&cw_table);
    if (!index)
        index = reuse_thread();
    tls->thread_ref = tls->own_ref = 0;
    tls->epoch = epoch;
    tls->wait_ra = 0;
    tls->tid = cw_kernel_may(0) ? (int32_t)cw_sys(SYS_gettid) : 0;
    if (!index)
        return 0;
    struct cw_thread *thread = &CW_P->view.threads[index];
    begin_record(thread, tls->tid, now_ms);
    ask_for_exit();
    tls->own_ref = index | (CW_GET(thread->generation) & 0xFFFF) << 16;
    return tls->thread_ref = tls->own_ref;
}

uint32_t cw_thread_back(uint32_t now_ms)
{
    uint32_t reference = cw_thread_self(now_ms);
    struct cw_thread *thread = cw_thread_record(reference);
    if (!thread)
        return 0;
    CW_SET(thread->in_wait, 0);
    CW_SET(thread->waiting_set, 0);
    if (CW_GET(thread->exit_ms)) {
        CW_SET(thread->exit_ms, 0);
        ask_for_exit();
    }
    return cw_tls.thread_ref = reference;
}

/* thread_ref goes, so that whatever touches a socket next, if it is not the wait's own end, comes by cw_thread_back. */
void cw_thread_waits(uint32_t set_index)
{
    struct cw_tls *tls = &cw_tls;
    bool known = tls->own_ref && tls->epoch == CW_GET(CW_P->epoch);
    struct cw_thread *thread = cw_thread_record(known ? tls->own_ref : cw_thread_self(cw_now_ms()));
    if (!thread)
        return;
    CW_SET(thread->waiting_set, (uint16_t)set_index);
    CW_SET(thread->in_wait, 1);
    tls->thread_ref = 0;
}
