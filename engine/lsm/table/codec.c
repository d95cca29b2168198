/* SPDX-License-Identifier: MIT */
#include "codec.h"

#include <assert.h>
#include <libdeflate.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#ifdef LSM_HAS_LZ4
#include <lz4.h>
#endif
#ifdef LSM_HAS_ZSTD
#include <zstd.h>
#endif

enum {
    ZLIB_LEVEL = 5, /* beyond it slower by more than it is smaller */
    ZSTD_LEVEL = 1, /* blocks are small: higher levels gain little there */
    LZ4_ACCELERATION = 1,
    POOL_SLOTS = 32,
};

const char *codec_name(enum codec_id codec)
{
    static const char *const names[CODECS] = { "none", "zlib", "lz4", "zstd" };
    return (unsigned)codec < CODECS ? names[codec] : "unknown";
}

bool codec_is_there(enum codec_id codec)
{
    switch (codec) {
    case CODEC_NONE:
    case CODEC_ZLIB:
        return true;
#ifdef LSM_HAS_LZ4
    case CODEC_LZ4:
        return true;
#endif
#ifdef LSM_HAS_ZSTD
    case CODEC_ZSTD:
        return true;
#endif
    default:
        return false;
    }
}

static sombra_err codec_missing(enum codec_id codec)
{
    return diag_fail(SOMBRA_UNSUPPORTED, "codec %u (%s) is not in this build", (unsigned)codec,
                     codec_name(codec));
}

sombra_err codec_check(enum codec_id codec)
{
    return codec_is_there(codec) ? SOMBRA_OK : codec_missing(codec);
}

/* ---- work memory ------------------------------------------------------------------------- */

/* What the libraries want beside input and output; made when first used. */
struct work {
    struct libdeflate_compressor *zlib_in;
    struct libdeflate_decompressor *zlib_out;
#ifdef LSM_HAS_ZSTD
    ZSTD_CCtx *zstd_in;
    ZSTD_DCtx *zstd_out;
#endif
};

/* One that is in use is in nobody's slot. A pool, not memory of threads: a thread may outlive the
 * library (dlclose), which then could not free it. */
static _Atomic(struct work *) pool[POOL_SLOTS];
/* Where this thread put its last one: threads seldom meet in a slot. */
static _Thread_local unsigned slot_hint;

static void work_free(struct work *work)
{
    if (!work)
        return;
    libdeflate_free_compressor(work->zlib_in);
    libdeflate_free_decompressor(work->zlib_out);
#ifdef LSM_HAS_ZSTD
    ZSTD_freeCCtx(work->zstd_in);
    ZSTD_freeDCtx(work->zstd_out);
#endif
    free(work);
}

__attribute__((destructor)) static void pool_empty(void)
{
    for (unsigned i = 0; i < POOL_SLOTS; i++)
        work_free(atomic_exchange(&pool[i], NULL));
}

static sombra_err work_take(struct work **out_work)
{
    for (unsigned i = 0; i < POOL_SLOTS; i++) {
        unsigned slot = (slot_hint + i) % POOL_SLOTS;
        if (!atomic_load_explicit(&pool[slot], memory_order_relaxed))
            continue;
        struct work *work = atomic_exchange_explicit(&pool[slot], NULL, memory_order_acquire);
        if (work) {
            slot_hint = slot;
            *out_work = work;
            return SOMBRA_OK;
        }
    }
    /* Not by mem_*: it outlives every store, as the libraries' own memory does. */
    struct work *work = calloc(1, sizeof *work);
    if (!work)
        return diag_nomem("a codec", sizeof *work);
    *out_work = work;
    return SOMBRA_OK;
}

static void work_give(struct work *work)
{
    for (unsigned i = 0; i < POOL_SLOTS; i++) {
        unsigned slot = (slot_hint + i) % POOL_SLOTS;
        struct work *empty = NULL;
        if (atomic_compare_exchange_strong_explicit(&pool[slot], &empty, work, memory_order_release,
                                                    memory_order_relaxed)) {
            slot_hint = slot;
            return;
        }
    }
    work_free(work);
}

/* ---- compress ---------------------------------------------------------------------------- */

/* Each gives the packed bytes, at most `room`, or 0 where they would be more. */
static sombra_err zlib_pack(sombra_slice raw, uint8_t *to, size_t room, size_t *out_bytes)
{
    struct work *work = NULL;
    sombra_err err = work_take(&work);
    if (err)
        return err;
    if (!work->zlib_in)
        work->zlib_in = libdeflate_alloc_compressor(ZLIB_LEVEL);
    if (work->zlib_in)
        *out_bytes = libdeflate_zlib_compress(work->zlib_in, raw.data, raw.bytes, to, room);
    else
        err = diag_nomem("zlib", raw.bytes);
    work_give(work);
    return err;
}

#ifdef LSM_HAS_LZ4
static sombra_err lz4_pack(sombra_slice raw, uint8_t *to, size_t room, size_t *out_bytes)
{
    int bytes =
        LZ4_compress_fast(raw.data, (char *)to, (int)raw.bytes, (int)room, LZ4_ACCELERATION);
    *out_bytes = bytes > 0 ? (size_t)bytes : 0;
    return SOMBRA_OK;
}
#endif

#ifdef LSM_HAS_ZSTD
static sombra_err zstd_pack(sombra_slice raw, uint8_t *to, size_t room, size_t *out_bytes)
{
    struct work *work = NULL;
    sombra_err err = work_take(&work);
    if (err)
        return err;
    if (!work->zstd_in)
        work->zstd_in = ZSTD_createCCtx();
    if (work->zstd_in) {
        size_t bytes = ZSTD_compressCCtx(work->zstd_in, to, room, raw.data, raw.bytes, ZSTD_LEVEL);
        *out_bytes = ZSTD_isError(bytes) ? 0 : bytes;
    } else {
        err = diag_nomem("zstd", raw.bytes);
    }
    work_give(work);
    return err;
}
#endif

static sombra_err pack(enum codec_id codec, sombra_slice raw, uint8_t *to, size_t room,
                       size_t *out_bytes)
{
    switch (codec) {
    case CODEC_ZLIB:
        return zlib_pack(raw, to, room, out_bytes);
#ifdef LSM_HAS_LZ4
    case CODEC_LZ4:
        return lz4_pack(raw, to, room, out_bytes);
#endif
#ifdef LSM_HAS_ZSTD
    case CODEC_ZSTD:
        return zstd_pack(raw, to, room, out_bytes);
#endif
    default:
        return codec_missing(codec);
    }
}

sombra_err codec_compress(enum codec_id codec, sombra_slice raw, struct buf *to,
                          enum codec_id *out_codec)
{
    assert(raw.bytes <= INT_MAX);
    sombra_err err = buf_reserve(to, raw.bytes);
    if (err)
        return err;
    size_t room = raw.bytes - raw.bytes / 8;
    if (room == raw.bytes && room > 0)
        room--;
    size_t bytes = 0;
    if (codec != CODEC_NONE && room > 0)
        err = pack(codec, raw, to->data + to->bytes, room, &bytes);
    if (err)
        return err;
    assert(bytes <= room);
    if (bytes > 0) {
        to->bytes += bytes;
        *out_codec = codec;
        return SOMBRA_OK;
    }
    *out_codec = CODEC_NONE;
    return buf_append_slice(to, raw);
}

/* ---- decompress -------------------------------------------------------------------------- */

static sombra_err codec_mismatch(enum codec_id codec, sombra_slice packed, size_t raw_bytes)
{
    return diag_fail(SOMBRA_CORRUPT, "%zu bytes of codec %s do not unpack to %zu", packed.bytes,
                     codec_name(codec), raw_bytes);
}

static sombra_err zlib_unpack(sombra_slice packed, void *to, size_t raw_bytes, bool *out_fits)
{
    struct work *work = NULL;
    sombra_err err = work_take(&work);
    if (err)
        return err;
    if (!work->zlib_out)
        work->zlib_out = libdeflate_alloc_decompressor();
    if (work->zlib_out) {
        size_t used = 0; /* bytes behind the stream are not allowed */
        *out_fits = libdeflate_zlib_decompress_ex(work->zlib_out, packed.data, packed.bytes, to,
                                                  raw_bytes, &used, NULL) == LIBDEFLATE_SUCCESS &&
                    used == packed.bytes;
    } else {
        err = diag_nomem("zlib", raw_bytes);
    }
    work_give(work);
    return err;
}

#ifdef LSM_HAS_ZSTD
static sombra_err zstd_unpack(sombra_slice packed, void *to, size_t raw_bytes, bool *out_fits)
{
    struct work *work = NULL;
    sombra_err err = work_take(&work);
    if (err)
        return err;
    if (!work->zstd_out)
        work->zstd_out = ZSTD_createDCtx();
    if (work->zstd_out)
        *out_fits = ZSTD_decompressDCtx(work->zstd_out, to, raw_bytes, packed.data, packed.bytes) ==
                    raw_bytes;
    else
        err = diag_nomem("zstd", raw_bytes);
    work_give(work);
    return err;
}
#endif

sombra_err codec_decompress(enum codec_id codec, sombra_slice packed, void *to, size_t raw_bytes)
{
    bool fits = false;
    sombra_err err = SOMBRA_OK;
    if (packed.bytes > INT_MAX || raw_bytes > INT_MAX)
        return codec_mismatch(codec, packed, raw_bytes);
    switch (codec) {
    case CODEC_NONE:
        fits = packed.bytes == raw_bytes;
        if (fits && raw_bytes > 0)
            memcpy(to, packed.data, raw_bytes);
        break;
    case CODEC_ZLIB:
        err = zlib_unpack(packed, to, raw_bytes, &fits);
        break;
#ifdef LSM_HAS_LZ4
    case CODEC_LZ4:
        fits = LZ4_decompress_safe(packed.data, to, (int)packed.bytes, (int)raw_bytes) ==
               (int)raw_bytes;
        break;
#endif
#ifdef LSM_HAS_ZSTD
    case CODEC_ZSTD:
        err = zstd_unpack(packed, to, raw_bytes, &fits);
        break;
#endif
    default:
        return codec_missing(codec);
    }
    if (!err && !fits)
        err = codec_mismatch(codec, packed, raw_bytes);
    return err;
}
