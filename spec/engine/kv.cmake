# SPDX-License-Identifier: MIT
set(kv_model kv_model.c)
set(kv_contract kv_contract.c kv_contract_points.c kv_contract_cursors.c kv_contract_words.c
  kv_contract_txns.c
  kv_history.c kv_history_steps.c kv_history_keys.c kv_check.c)
set(kv_crash kv_crash.c kv_crash_cuts.c kv_crash_faults.c kv_check.c)

engine_test(kv_model_test kv SOURCES ${kv_model} ${kv_contract} LABELS threads)
engine_test(kv_metrics_test kv SOURCES kv_check.c LABELS threads)
engine_test(kv_wait_test kv SOURCES kv_check.c)
engine_test(kv_trace_test kv SOURCES ${kv_model} ${kv_contract} LABELS threads)
# It needs the simulated machine, which kv does not.
engine_test(kv_crash_test os SOURCES ${kv_model} ${kv_crash})
if(TARGET kv_crash_test)
  target_link_libraries(kv_crash_test PRIVATE engine_kv)
endif()
engine_test(kv_contract_btree_test btree SOURCES kv_contract_store.c ${kv_model} ${kv_contract} LABELS threads TIMEOUT 900)
engine_test(kv_crash_btree_test btree SOURCES kv_crash_main.c ${kv_model} ${kv_crash} TIMEOUT 900 LONG 3600)
