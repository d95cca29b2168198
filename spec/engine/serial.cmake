# SPDX-License-Identifier: MIT
set(kv_serial kv_serial.c kv_serial_cycles.c kv_check.c)
engine_test(kv_serial_test kv SOURCES ${kv_serial})
engine_test(btree_serial_test btree SOURCES btree_fixture.c ${kv_serial} kv_serial_work.c LABELS threads TIMEOUT 900 LONG 3600)
engine_test(kv_isolation_test kv SOURCES kv_isolation.c kv_model.c kv_check.c LABELS threads)
if(TARGET kv_isolation_test)
  target_link_libraries(kv_isolation_test PRIVATE engine_os)
endif()
engine_test(btree_isolation_test btree SOURCES btree_fixture.c kv_isolation.c kv_check.c LABELS threads)
