# SPDX-License-Identifier: MIT
engine_test(kv_crash_lsm_test lsm SOURCES ${kv_model} ${kv_crash} TIMEOUT 900 LONG 3600)
engine_test(lsm_isolation_test lsm SOURCES lsm_store.c kv_isolation.c kv_check.c LABELS threads)
engine_test(lsm_serial_test lsm SOURCES lsm_store.c kv_serial.c kv_serial_cycles.c kv_check.c kv_serial_work.c LABELS threads TIMEOUT 900 LONG 3600)
engine_test(lsm_codec_test lsm LABELS threads)
engine_test(lsm_filter_test lsm)
engine_test(lsm_table_writer_test lsm SOURCES table_bytes.c)
