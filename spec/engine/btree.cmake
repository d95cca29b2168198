# SPDX-License-Identifier: MIT
set(btree_fixture btree_fixture.c kv_check.c)

engine_test(btree_hostile_test btree SOURCES ${btree_fixture})
engine_test(btree_unclean_test btree SOURCES ${btree_fixture})
engine_test(btree_space_test btree SOURCES ${btree_fixture})
engine_test(btree_names_test btree SOURCES ${btree_fixture} LABELS threads)
engine_test(btree_spill_test btree SOURCES ${btree_fixture})
engine_test(btree_backup_test btree SOURCES ${btree_fixture} LABELS threads TIMEOUT 600)
engine_test(btree_open_test btree SOURCES ${btree_fixture} LABELS threads)
engine_test(btree_threads_test btree SOURCES ${btree_fixture} LABELS threads)
engine_test(btree_scale_test btree SOURCES ${btree_fixture} TIMEOUT 900)
engine_test(btree_salvage_test btree SOURCES ${btree_fixture} TIMEOUT 600)
engine_test(btree_compact_test btree SOURCES ${btree_fixture} LABELS threads)
