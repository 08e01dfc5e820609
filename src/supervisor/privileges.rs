//! Privileges of a thread, where asked for and permitted.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::unistd::Pid;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::config::plan::Scheduling;

/// Gives the calling thread what is configured for it. `of` is how the words begin: `vrrp`, `checker`. What is refused is
/// logged.
pub(super) fn take(of: &str, scheduling: &Scheduling) {
    if let Some(nice) = scheduling.nice
        // Without a process it is about the calling thread.
        && let Err(error) = rustix::process::setpriority_process(None, nice.into())
    {
        tracing::warn!(nice, %error, "{of}_priority: the nice value is not set (CAP_SYS_NICE)");
    }
    if let Some(priority) = scheduling.rt_priority {
        let value = ThreadPriorityValue::try_from(priority).unwrap_or(ThreadPriorityValue::MIN);
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
        let set =
            set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy);
        if let Err(error) = set {
            tracing::warn!(priority, ?error, "{of}_rt_priority: no real-time scheduling (CAP_SYS_NICE)");
        }
    }
    if scheduling.no_swap
        && let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
    {
        tracing::warn!(%error, "{of}_no_swap: memory is not locked (CAP_IPC_LOCK)");
    }
    if !scheduling.cpu_affinity.is_empty() {
        let mut cpus = CpuSet::new();
        let set = scheduling.cpu_affinity.iter().try_for_each(|cpu| cpus.set(*cpu));
        if let Err(error) = set.and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus)) {
            tracing::warn!(%error, "{of}_cpu_affinity");
        }
    }
}
