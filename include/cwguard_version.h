/* The release, the one place where it is written. */
#ifndef CWGUARD_VERSION_H
#define CWGUARD_VERSION_H

#define CW_VERSION "0.1"

#endif
