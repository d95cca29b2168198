/* SPDX-License-Identifier: MIT */
/* codec: compression of blocks behind one interface.
 *
 * Threads: safe. The libraries' work memory is kept in a small pool for the next call and freed
 * when the program ends or unloads the library.
 */
#ifndef LSM_CODEC_H
#define LSM_CODEC_H

#include "base/base.h"

/* Values are on disk: append only. */
enum codec_id { CODEC_NONE = 0, CODEC_ZLIB = 1, CODEC_LZ4 = 2, CODEC_ZSTD = 3, CODECS };

const char *codec_name(enum codec_id codec);
/* True where the build can read and write it. */
bool codec_is_there(enum codec_id codec);
/* OK, or UNSUPPORTED with its name. */
sombra_err codec_check(enum codec_id codec) SOMBRA_MUST_CHECK;

/* Appends the compressed bytes to `to`. *out_codec is CODEC_NONE, and the bytes are copied, where
 * compression saves less than an eighth. UNSUPPORTED, NOMEM. */
sombra_err codec_compress(enum codec_id codec, sombra_slice raw, struct buf *to,
                          enum codec_id *out_codec) SOMBRA_MUST_CHECK;
/* Fills `to`, exactly `raw_bytes`. CORRUPT where the bytes give anything else; UNSUPPORTED; NOMEM.
 * `codec` may be any number. */
sombra_err codec_decompress(enum codec_id codec, sombra_slice packed, void *to,
                            size_t raw_bytes) SOMBRA_MUST_CHECK;

#endif
