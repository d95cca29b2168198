# SPDX-License-Identifier: MIT
engine_test(base_memory_test base)
engine_test(base_encoding_test base)
engine_test(base_diag_test base LABELS threads)
