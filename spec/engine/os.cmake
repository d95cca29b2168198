# SPDX-License-Identifier: MIT
engine_test(os_posix_test os)
engine_test(os_memory_test os)
engine_test(os_thread_test os)
engine_test(os_registry_test os)
engine_test(os_wrap_test os)
engine_test(os_sim_test os)
engine_test(os_sim_crash_test os)
