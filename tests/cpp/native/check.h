/* Ends the program with the line that is not so. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: not so: %s\nlast error: %s (%s)\n", __FILE__, __LINE__, #condition,       \
                    ov_last_error(), ov_last_hint());                                                        \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)
