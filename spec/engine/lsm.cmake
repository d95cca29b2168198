# SPDX-License-Identifier: MIT
engine_test(lsm_merge_test lsm SOURCES kv_check.c)
engine_test(lsm_read_test lsm SOURCES kv_check.c)
