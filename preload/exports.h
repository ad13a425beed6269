/* The linker's export list, from the rows of hooks.inc: preprocess this file with -E -P, one `name;` per line. */
#define CW_HOOK(need, type, name, parameters, arguments, after) name;
#define CW_WRAP(need, type, name, parameters, arguments) name;
#define CW_HAND(need, name) name;
#define CW_ALIAS(alias, name) alias;
#include "preload/hooks.inc"
