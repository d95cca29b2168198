# SPDX-License-Identifier: MIT
engine_test(lsm_cache_test lsm LABELS threads)
engine_test(lsm_table_test lsm SOURCES lsm_table_fixture.c)
engine_test(lsm_table_damage_test lsm SOURCES lsm_table_fixture.c)
engine_test(lsm_codec_test lsm LABELS threads)
engine_test(lsm_filter_test lsm)
engine_test(lsm_table_writer_test lsm SOURCES table_bytes.c)
