# SPDX-License-Identifier: MIT
engine_test(lsm_policy_test lsm)
engine_test(lsm_memtable_test lsm LABELS threads)
engine_test(lsm_cache_test lsm LABELS threads)
engine_test(lsm_merge_test lsm SOURCES kv_check.c)
engine_test(kv_crash_lsm_test lsm SOURCES ${kv_model} ${kv_crash} TIMEOUT 900 LONG 3600)
engine_test(lsm_isolation_test lsm SOURCES lsm_store.c kv_isolation.c kv_check.c LABELS threads)
engine_test(lsm_serial_test lsm SOURCES lsm_store.c kv_serial.c kv_serial_cycles.c kv_check.c kv_serial_work.c LABELS threads TIMEOUT 900 LONG 3600)
