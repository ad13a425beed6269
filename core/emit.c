#include "core/emit.h"

#include <errno.h>

int cw_emit(struct cw_out *out, const struct cw_report *report, unsigned format)
{
#define CW_X(id, name, function) function,
    static void (*const emitters[])(struct cw_out *, const struct cw_report *) = {CW_EMITTERS(CW_X)};
#undef CW_X

    if (format >= sizeof(emitters) / sizeof(emitters[0]))
        return -EINVAL;
    emitters[format](out, report);
    return cw_out_flush(out);
}
