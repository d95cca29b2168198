# SPDX-License-Identifier: MIT
engine_test(lsm_policy_test lsm)
engine_test(lsm_memtable_test lsm LABELS threads)
engine_test(lsm_cache_test lsm LABELS threads)
engine_test(lsm_merge_test lsm SOURCES kv_check.c)
