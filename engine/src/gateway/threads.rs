//! Named threads: start them, and wait for their end.

use std::thread::JoinHandle;

use anyhow::Context;

pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .with_context(|| format!("cannot start the thread {name}"))
}

pub(super) fn join<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    let name = thread.thread().name().unwrap_or("?").to_owned();
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the thread {name} panicked"))
}
