# SPDX-License-Identifier: MIT
engine_test(wal_test wal SOURCES wal_fixture.c LABELS threads)
engine_test(wal_group_test wal SOURCES wal_fixture.c LABELS threads)
engine_test(wal_tail_test wal SOURCES wal_fixture.c)
engine_test(wal_short_test wal SOURCES wal_fixture.c)
engine_test(wal_crash_test wal SOURCES wal_fixture.c)
