/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Preloaded into RHVoice: it exports the HTS engine's C functions, so the phone times of every phrase can be written to
 * the file named by HTS_LABELS just before the phrase is turned into sound. One line "#" follows each phrase.
 * Build: gcc -O2 -shared -fPIC -o htslabels.so htslabels.c -ldl   (setup_engines.sh does it) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef char (*generate_fn)(void *engine);
typedef void (*save_fn)(void *engine, FILE *file);

char HTS_Engine_generate_sample_sequence(void *engine)
{
    generate_fn generate = (generate_fn)dlsym(RTLD_NEXT, "HTS_Engine_generate_sample_sequence");
    save_fn save_label = (save_fn)dlsym(RTLD_NEXT, "HTS_Engine_save_label");
    const char *path = getenv("HTS_LABELS");
    FILE *file = path && save_label ? fopen(path, "a") : NULL;
    if (file) {
        save_label(engine, file);
        fputs("#\n", file);
        fclose(file);
    }
    return generate(engine);
}
