//! Work that may hang, on a thread of its own that ends with it.
//!
//! A runtime has threads for that, but takes whichever is idle: each of them then keeps a heap that was once needed for
//! the work. Threads that begin and end one after the other use the heap of the one before.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use thiserror::Error;
use tokio::sync::oneshot;

/// What a thread is at. Forgotten when dropped: the thread ends when whatever holds it lets go.
#[derive(Debug)]
pub(crate) struct Aside<T> {
    thread: io::Result<JoinHandle<()>>,
    answer: oneshot::Receiver<T>,
}

#[derive(Debug, Error)]
pub(crate) enum Failed {
    #[error("there is no thread for it")]
    NoThread(#[source] io::Error),
    #[error("it panicked")]
    Panicked,
}

/// Begins `work` on a thread of that name.
pub(crate) fn begin<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Aside<T> {
    let (done, answer) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody may wait for it any more.
        let _forgotten = done.send(work());
    });
    Aside { thread, answer }
}

impl<T> Aside<T> {
    /// Whether the thread is gone.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().map_or(true, JoinHandle::is_finished)
    }
}

/// Once it is ready it is not to be asked again. Cancel-safe: the work goes on.
impl<T> Future for Aside<T> {
    type Output = Result<T, Failed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            answer.map_err(|_none| {
                let none = io::ErrorKind::Other.into();
                match std::mem::replace(&mut self.thread, Err(none)) {
                    Ok(_thread) => Failed::Panicked,
                    Err(error) => Failed::NoThread(error),
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_and_what_it_panics_of_is_contained() {
        assert_eq!(begin("test", || 7).await.expect("it is done"), 7);
        assert!(matches!(begin("test", || panic!("a defect")).await, Err::<(), _>(Failed::Panicked)));
    }

    #[tokio::test]
    async fn work_that_hangs_is_not_finished_until_it_is_let_go() {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let mut aside = begin("test", move || gone.recv().is_err());
        assert!(!aside.is_finished());
        drop(go);
        assert!((&mut aside).await.expect("it is done"));
    }
}
