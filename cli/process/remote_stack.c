#include "cli/process/remote_stack.h"

#include "cli/process/unwind_files.h"

#include <libunwind-ptrace.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096 };

struct cw_remote {
    struct cw_modules *modules;
    unw_addr_space_t space;
    void *tables;                  /* libunwind's: finds an object's unwind tables in its file */
    struct cw_unwind_files *files; /* NULL: not wanted */
    const struct cw_snapshot *snapshot;
    uint64_t page_at; /* the page of memory that was read last, 1: none */
    uint8_t page[PAGE_BYTES];
};

/* libunwind hands its own argument to some of the functions below, not ours: who asks is kept here. */
static struct cw_remote *asking;

/* libunwind's search in a table that lies in the memory of the process; its headers do not declare it. */
extern int UNW_OBJ(dwarf_search_unwind_table)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int,
                                              void *);

/* The tables of objects whose file is not there: the vDSO, a file that was deleted, another mount namespace. The layout
 * of .eh_frame_hdr: LSB, chapter "Exception Frames". */
static int find_in_memory(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need_unwind_info)
{
    enum { VERSION = 1, ENCODED_PC_RELATIVE = 0x1b, ENCODED_U4 = 0x03, ENCODED_SORTED_TABLE = 0x3b };
    struct cw_unwind_tables tables;
    struct {
        uint8_t version, pointer_encoding, count_encoding, table_encoding;
        int32_t pointer;
        uint32_t count;
    } header;

    if (!cw_modules_tables(asking->modules, ip, &tables) ||
        cw_snapshot_peek(asking->modules->pid, tables.eh_frame_hdr, &header, sizeof header) < 0 ||
        header.version != VERSION || header.pointer_encoding != ENCODED_PC_RELATIVE ||
        header.count_encoding != ENCODED_U4 || header.table_encoding != ENCODED_SORTED_TABLE)
        return -UNW_ENOINFO;
    unw_dyn_info_t where = {.format = UNW_INFO_FORMAT_REMOTE_TABLE, .start_ip = tables.start, .end_ip = tables.end};
    where.u.rti.segbase = tables.eh_frame_hdr;
    where.u.rti.table_data = tables.eh_frame_hdr + sizeof header;
    where.u.rti.table_len = header.count; /* in words of 8 bytes, which an entry has */
    return UNW_OBJ(dwarf_search_unwind_table)(space, ip, &where, info, need_unwind_info, asking);
}

static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *info, int need_unwind_info, void *arg)
{
    int result = _UPT_find_proc_info(space, ip, info, need_unwind_info, asking->tables);

    (void)arg;
    return result == 0 ? 0 : find_in_memory(space, ip, info, need_unwind_info);
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *arg)
{
    (void)arg;
    _UPT_put_unwind_info(space, info, asking->tables);
}

static int no_dynamic_info(unw_addr_space_t space, unw_word_t *ret, void *arg)
{
    (void)space, (void)ret, (void)arg;
    return -UNW_ENOINFO;
}

/* Stack from the copy; all else that unwinding needs (tables) does not change. */
static int access_mem(unw_addr_space_t space, unw_word_t address, unw_word_t *word, int write, void *arg)
{
    const struct cw_snapshot *snapshot = asking->snapshot;
    uint64_t in_stack = address - snapshot->stack_at, in_page = address % PAGE_BYTES;

    (void)space, (void)arg;
    if (write)
        return -UNW_EINVAL;
    if (address >= snapshot->stack_at && in_stack + sizeof *word <= snapshot->stack_bytes) {
        memcpy(word, snapshot->stack + in_stack, sizeof *word);
        return 0;
    }
    if (in_page + sizeof *word > PAGE_BYTES)
        return cw_snapshot_peek(asking->modules->pid, address, word, sizeof *word) < 0 ? -UNW_EINVAL : 0;
    if (asking->page_at != address - in_page) {
        asking->page_at = 1;
        if (cw_snapshot_peek(asking->modules->pid, address - in_page, asking->page, PAGE_BYTES) < 0)
            return -UNW_EINVAL;
        asking->page_at = address - in_page;
    }
    memcpy(word, asking->page + in_page, sizeof *word);
    return 0;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t reg, unw_word_t *word, int write, void *arg)
{
    const struct cw_snapshot *snapshot = asking->snapshot;

    (void)space, (void)arg;
    if (write || reg < 0 || reg >= CW_SNAPSHOT_REGISTERS || !(snapshot->known >> reg & 1))
        return -UNW_EBADREG;
    *word = snapshot->registers[reg];
    return 0;
}

static int no_fpreg(unw_addr_space_t space, unw_regnum_t reg, unw_fpreg_t *value, int write, void *arg)
{
    (void)space, (void)reg, (void)value, (void)write, (void)arg;
    return -UNW_EBADREG;
}

static int no_resume(unw_addr_space_t space, unw_cursor_t *cursor, void *arg)
{
    (void)space, (void)cursor, (void)arg;
    return -UNW_EINVAL;
}

static int no_proc_name(unw_addr_space_t space, unw_word_t ip, char *name, size_t bytes, unw_word_t *offset, void *arg)
{
    (void)space, (void)ip, (void)name, (void)bytes, (void)offset, (void)arg;
    return -UNW_ENOINFO;
}

struct cw_remote *cw_remote_new(struct cw_modules *modules, bool by_files)
{
    static unw_accessors_t accessors = {
        .find_proc_info = find_proc_info,
        .put_unwind_info = put_unwind_info,
        .get_dyn_info_list_addr = no_dynamic_info,
        .access_mem = access_mem,
        .access_reg = access_reg,
        .access_fpreg = no_fpreg,
        .resume = no_resume,
        .get_proc_name = no_proc_name,
    };
    struct cw_remote *remote = calloc(1, sizeof *remote);

    if (!remote)
        return NULL;
    remote->modules = modules;
    remote->space = unw_create_addr_space(&accessors, 0);
    remote->tables = _UPT_create(modules->pid);
    remote->files = by_files ? cw_unwind_files_new(modules) : NULL;
    if (!remote->space || !remote->tables) {
        cw_remote_free(remote);
        return NULL;
    }
    unw_set_caching_policy(remote->space, UNW_CACHE_GLOBAL);
    return remote;
}

void cw_remote_free(struct cw_remote *remote)
{
    if (!remote)
        return;
    if (remote->tables)
        _UPT_destroy(remote->tables);
    if (remote->space)
        unw_destroy_addr_space(remote->space);
    cw_unwind_files_free(remote->files);
    free(remote);
}

/* From the frame that is in ret last, which libunwind stands at, on. */
static void go_on_by_files(struct cw_remote *remote, unw_cursor_t *cursor, bool exact, struct cw_remote_stack *ret)
{
    struct cw_unwind_registers registers = {.known = 0};
    int more = 1;

    for (int i = 0; i < CW_SNAPSHOT_REGISTERS; i++)
        if (unw_get_reg(cursor, i, &registers.value[i]) == 0)
            registers.known |= 1u << i;
    cw_unwind_files_begin(remote->files, remote->snapshot);
    while (ret->n < CW_REMOTE_FRAMES_MAX) {
        uint64_t sp = registers.value[CW_SNAPSHOT_SP];
        more = cw_unwind_files_step(remote->files, exact, &registers);
        if (more <= 0 || registers.value[CW_SNAPSHOT_SP] <= sp)
            break;
        exact = false;
        uint64_t frame = cw_modules_frame(remote->modules, registers.value[CW_SNAPSHOT_PC]);
        if (!frame)
            break;
        ret->frames[ret->n++] = frame;
    }
    ret->whole = more == 0;
}

void cw_remote_unwind(struct cw_remote *remote, const struct cw_snapshot *snapshot, struct cw_remote_stack *ret)
{
    bool exact = true; /* the address is that of the next instruction, not one behind a call */
    unw_cursor_t cursor, before;
    unw_proc_info_t info;
    int more;

    ret->n = 0;
    ret->whole = false;
    asking = remote;
    remote->snapshot = snapshot;
    remote->page_at = 1;
    more = unw_init_remote(&cursor, remote->space, remote) < 0 ? -1 : 1;
    while (more > 0 && ret->n < CW_REMOTE_FRAMES_MAX) {
        unw_word_t ip = 0, sp_before = 0, sp = 0;
        if (unw_get_reg(&cursor, UNW_REG_IP, &ip) < 0)
            return;
        if (!ip) {
            more = 0;
            break;
        }
        /* Readers of stacks look just before an address, where the call is. */
        uint64_t frame = cw_modules_frame(remote->modules, ip + exact);
        if (!frame)
            return;
        ret->frames[ret->n++] = frame;
        exact = unw_is_signal_frame(&cursor) > 0;
        unw_get_reg(&cursor, UNW_REG_SP, &sp_before);
        before = cursor;
        /* Where there are no tables, libunwind would guess, and says so by a function of one byte. */
        bool guess = remote->files && (unw_get_proc_info(&cursor, &info) < 0 || info.end_ip <= info.start_ip + 1);
        more = guess ? -1 : unw_step(&cursor);
        /* What goes nowhere is no stack (code without tables); a signal's handler may have had one of its own. */
        if (more > 0 && !exact && unw_get_reg(&cursor, UNW_REG_SP, &sp) == 0 && sp <= sp_before)
            more = -1;
        if (more < 0 && remote->files) {
            go_on_by_files(remote, &before, exact || ret->n == 1, ret);
            return;
        }
        if (more < 0)
            return;
    }
    ret->whole = more == 0;
}
