//! Named threads: start them, and wait for their end.

use std::thread::JoinHandle;

use anyhow::Context;

pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .with_context(|| format!("cannot start the thread {name}"))
}

pub(crate) fn join<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    let name = thread.thread().name().unwrap_or("?").to_owned();
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the thread {name} panicked"))
}

/// Lowers the priority of this thread by a little, if the system allows it.
///
/// A shard wakes a reader, and the sequencer the threads of HTTP. Without this the kernel may run the woken thread at
/// once in place of that shard, and all clients of the shard wait until the answer to one of them is read.
pub(crate) fn let_shards_go_first() {
    /// Beside a shard that always has work, such a thread gets a quarter of a processor.
    const STEPS: i32 = 5;
    lower(STEPS);
}

/// Lowers the priority of this thread as far as it goes, if the system allows it. Threads that it starts from then
/// on have the same. Beside threads that always have work, it gets a hundredth of a processor.
pub(crate) fn let_all_go_first() {
    const STEPS: i32 = 19;
    lower(STEPS);
}

/// Lowers the priority of this thread, if the system allows it. On Linux each thread has its own priority.
fn lower(steps: i32) {
    #[cfg(target_os = "linux")]
    {
        let own = Some(rustix::thread::gettid());
        if let Ok(nice) = rustix::process::getpriority_process(own) {
            let _ = rustix::process::setpriority_process(own, nice + steps);
        }
    }
}
