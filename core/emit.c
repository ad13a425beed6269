#include "core/emit.h"

#include <errno.h>

int cw_emit(struct cw_out *out, const struct cw_document *document, unsigned format)
{
#define CW_X(id, name, function) function,
    static void (*const emitters[])(struct cw_out *, const struct cw_document *) = {CW_EMITTERS(CW_X)};
#undef CW_X

    if (format >= sizeof(emitters) / sizeof(emitters[0]))
        return -EINVAL;
    emitters[format](out, document);
    return cw_out_flush(out);
}
