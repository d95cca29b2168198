# SPDX-License-Identifier: MIT
set(query_fixture graph_fixture.c graph_fixture_model.c kv_model.c value_fixture.c)
set(query_search_fixture query_search_fixture.c ${query_fixture})

set(query_steps_fixture query_fixture.c ${query_fixture})

engine_test(query_steps_test query SOURCES ${query_steps_fixture})
engine_test(query_bounds_test query SOURCES ${query_steps_fixture})
engine_test(query_plan_test db
  SOURCES query_fixture.c graph_fixture.c graph_fixture_btree.c value_fixture.c)
engine_test(query_random_test query SOURCES ${query_steps_fixture})
engine_test(query_predicate_test query SOURCES ${query_fixture})
engine_test(query_paths_test query SOURCES ${query_search_fixture})
engine_test(query_order_test query SOURCES ${query_search_fixture})
engine_test(query_subgraph_test query SOURCES ${query_search_fixture})

# On the engine, since the data is large.
engine_test(query_reference_test db
  SOURCES query_search_fixture.c graph_fixture.c graph_fixture_btree.c value_fixture.c)
if(TARGET query_reference_test)
  target_compile_definitions(query_reference_test PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
endif()
