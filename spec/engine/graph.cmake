# SPDX-License-Identifier: MIT
set(graph_fixture graph_fixture.c graph_fixture_model.c kv_model.c)

engine_test(graph_value_test graph)
engine_test(graph_node_test graph SOURCES ${graph_fixture})
engine_test(graph_edge_test graph SOURCES ${graph_fixture})
engine_test(graph_bucket_test graph SOURCES ${graph_fixture})
engine_test(graph_verify_test graph SOURCES ${graph_fixture})
engine_test(graph_random_test graph SOURCES ${graph_fixture})
engine_test(graph_upsert_test graph SOURCES ${graph_fixture} graph_index_fixture.c)
engine_test(graph_rule_test graph SOURCES ${graph_fixture} graph_index_fixture.c)
engine_test(graph_trigger_test graph SOURCES ${graph_fixture} graph_index_fixture.c)
engine_test(graph_index_test graph SOURCES ${graph_fixture} graph_index_fixture.c)
engine_test(graph_threads_test graph SOURCES ${graph_fixture} LABELS threads)
