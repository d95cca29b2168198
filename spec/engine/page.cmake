# SPDX-License-Identifier: MIT
engine_test(page_leaf_test btree_page SOURCES page_fixture.c)
engine_test(page_branch_test btree_page SOURCES page_fixture.c)
engine_test(page_validate_test btree_page SOURCES page_fixture.c)
