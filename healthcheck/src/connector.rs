//! Connecting many sockets with few calls of the kernel.
//!
//! A socket that is only connected and closed needs no more than to be watched once. Its own epoll does that: a socket is
//! added and never removed, for closing it does so, and what it says when it is done is told by the event alone. What a
//! runtime does for sockets that live costs twice as many calls.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::Socket;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Connections taken from the kernel at a time.
const AT_ONCE: usize = 64;

/// Connects sockets on the runtime that it was made on, for as long as it is there.
#[derive(Debug)]
pub(crate) struct Connector {
    shared: Arc<Shared>,
    watching: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    sockets: HashMap<u64, oneshot::Sender<EpollFlags>>,
}

impl Connector {
    /// # Errors
    /// The kernel has no room for it.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let events = register(epoll.0.try_clone()?)?;
        let shared = Arc::new(Shared { epoll, waiting: Mutex::default() });
        let watching = tokio::spawn(watch(Arc::clone(&shared), events));
        Ok(Self { shared, watching })
    }

    /// Connects a socket that does not block. Dropped before its end, it leaves the connection to the socket.
    pub(crate) async fn connect(&self, socket: &Socket, to: SocketAddr) -> io::Result<()> {
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            done => return done,
        }
        let flags = self.shared.watch(socket)?.ended().await;
        if flags.is_none_or(|flags| flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP))
            && let Some(error) = socket.take_error()?
        {
            return Err(error);
        }
        flags.map(drop).ok_or_else(|| io::Error::other("nobody watches connections any more"))
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is `unsafe`; a descriptor that is owned is not closed by others"
)]
fn register(epoll: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(epoll)
}

impl Drop for Connector {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, socket: &Socket) -> io::Result<Watched<'_>> {
        let (ended, events) = oneshot::channel();
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.sockets.insert(number, ended);
        drop(waiting);
        let watched = Watched { shared: self, number, events };
        let once = EpollFlags::EPOLLOUT | EpollFlags::EPOLLONESHOT;
        self.epoll.add(socket, EpollEvent::new(once, number))?;
        Ok(watched)
    }
}

/// A socket that is being connected.
struct Watched<'s> {
    shared: &'s Shared,
    number: u64,
    events: oneshot::Receiver<EpollFlags>,
}

impl Watched<'_> {
    /// What became of it; `None` if nobody watches any more.
    async fn ended(mut self) -> Option<EpollFlags> {
        (&mut self.events).await.ok()
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.shared.lock().sockets.remove(&self.number);
    }
}

/// Tells those that wait, until it is aborted. Fails as a whole only if the runtime goes down.
async fn watch(shared: Arc<Shared>, events: AsyncFd<OwnedFd>) {
    let mut ended = [EpollEvent::empty(); AT_ONCE];
    while let Ok(mut ready) = events.readable().await {
        loop {
            let count = shared.epoll.wait(&mut ended, EpollTimeout::ZERO).unwrap_or(0);
            let mut waiting = shared.lock();
            for event in ended.iter().take(count) {
                if let Some(waiter) = waiting.sockets.remove(&event.data()) {
                    // Whoever waited may have given up.
                    let _ = waiter.send(event.events());
                }
            }
            drop(waiting);
            if count < AT_ONCE {
                break;
            }
        }
        ready.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use socket2::{Domain, Type};
    use tokio::time::timeout;

    use super::*;

    fn socket() -> Socket {
        Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap()
    }

    #[tokio::test]
    async fn many_at_once_are_connected_or_refused() {
        let connector = Arc::new(Connector::new().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let gone = TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap()
        };
        let attempts: Vec<_> = (0..AT_ONCE * 3)
            .map(|n| {
                let (connector, to) = (Arc::clone(&connector), if n % 3 == 0 { closed } else { open });
                tokio::spawn(async move {
                    let socket = socket();
                    let done = connector.connect(&socket, to).await;
                    (to, done.map(|()| socket.peer_addr().unwrap().as_socket()))
                })
            })
            .collect();
        for attempt in attempts {
            let (to, done) = timeout(Duration::from_secs(30), attempt).await.unwrap().unwrap();
            if to == open {
                assert_eq!(done.unwrap(), Some(open));
            } else {
                assert_eq!(done.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            }
        }
        assert!(connector.shared.lock().sockets.is_empty());
    }

    #[tokio::test]
    async fn whoever_gives_up_leaves_nothing_behind() {
        let connector = Connector::new().unwrap();
        // Its queue is full: what comes after is not answered.
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let to = full.local_addr().unwrap().as_socket().unwrap();
        let mut held = Vec::new();
        for _ in 0..8 {
            let socket = socket();
            let done = timeout(Duration::from_millis(200), connector.connect(&socket, to)).await;
            held.push(socket);
            if done.is_err() {
                assert!(connector.shared.lock().sockets.is_empty());
                return;
            }
        }
        panic!("a listener without room takes {} connections", held.len());
    }
}
