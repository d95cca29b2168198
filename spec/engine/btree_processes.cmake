# SPDX-License-Identifier: MIT
engine_test(btree_takeover_test btree SOURCES kv_model.c kv_check.c btree_processes_fixture.c TIMEOUT 900 LONG 3600)
engine_test(btree_processes_test btree SOURCES kv_check.c btree_processes_fixture.c TIMEOUT 900 LONG 3600)
