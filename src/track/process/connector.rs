//! The kernel's process connector: a netlink multicast group that hears of every fork, exec and exit.
//! (Linux `Documentation/driver-api/connector.rst`; layouts of `linux/connector.h` and
//! `linux/cn_proc.h`.)
//!
//! ```text
//! nlmsghdr (16): len u32, type u16, flags u16, seq u32, pid u32
//! cn_msg   (20): idx u32, val u32, seq u32, ack u32, len u16, flags u16
//! proc_event   : what u32, cpu u32, timestamp u64, data
//! ```

use std::fs::File;
use std::future::poll_fn;
use std::io;

use futures::FutureExt;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket};
use nix::sched::{CloneFlags, setns};
use tokio::runtime::Handle;

const NETLINK_CONNECTOR: isize = 11;
const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;
const NLMSG_DONE: u16 = 3;
const PROC_CN_MCAST_LISTEN: u32 = 1;

const NLMSGHDR_LEN: usize = 16;
const CN_MSG_LEN: usize = 20;

/// One event is far smaller; the kernel sends one in each datagram.
const DATAGRAM_LEN: usize = 4096;
/// Events taken from the socket before they are handled; more stay there.
const BATCH: usize = 256;

/// What happened to a process. Threads are left out.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// The kernel's answer to our wish to listen: 0, or the number of an error.
    Acknowledged {
        error: i32,
    },
    Forked {
        parent: u32,
        child: u32,
    },
    /// Executed a program, or changed its name.
    Renewed {
        pid: u32,
    },
    Exited {
        pid: u32,
    },
}

impl ProcessEvent {
    /// Who has another name or program now.
    pub(super) fn renewed(&self) -> Option<u32> {
        match self {
            Self::Renewed { pid } => Some(*pid),
            Self::Acknowledged { .. } | Self::Forked { .. } | Self::Exited { .. } => None,
        }
    }
}

/// The network namespace that this program was started in, to be remembered before it joins another one: events of
/// processes are told only in the initial one.
#[derive(Debug)]
pub struct HomeNamespace(File);

impl HomeNamespace {
    /// The one that the calling thread is in.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn here() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self)
    }

    /// A socket stays in the namespace that it was made in, and a thread too: hence a thread that makes one there. Needs
    /// CAP_SYS_ADMIN, as joining the other namespace did.
    fn socket(&self) -> io::Result<TokioSocket> {
        let (namespace, runtime) = (self.0.try_clone()?, Handle::current());
        let make = move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            let _context = runtime.enter();
            TokioSocket::new(NETLINK_CONNECTOR)
        };
        let thread = std::thread::Builder::new().name("connector".to_owned()).spawn(make)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes the socket panicked")))
    }
}

pub(super) struct Connector {
    socket: TokioSocket,
}

impl Connector {
    /// Joins the group and asks for events. Needs CAP_NET_ADMIN. In another network namespace than the initial one the
    /// kernel does not listen; there it needs a `home` where it does.
    ///
    /// # Errors
    /// The kernel has no connector here, or does not permit it.
    pub(super) fn open(home: Option<&HomeNamespace>) -> io::Result<Self> {
        match (Self::listen(TokioSocket::new(NETLINK_CONNECTOR)?), home) {
            (Err(error), Some(home)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Self::listen(home.socket()?)
            }
            (listening, _) => listening,
        }
    }

    fn listen(mut socket: TokioSocket) -> io::Result<Self> {
        socket.socket_mut().bind(&SocketAddr::new(0, CN_IDX_PROC))?;
        socket.socket_ref().send_to(&listen_request(), &SocketAddr::new(0, 0), 0)?;
        Ok(Self { socket })
    }

    /// Waits for events, and takes along those that are there already. Cancel-safe.
    ///
    /// # Errors
    /// `ENOBUFS` when events were lost, and whatever else the socket says.
    pub(super) async fn receive(&mut self) -> io::Result<Vec<ProcessEvent>> {
        let mut events: Vec<_> = self.receive_one().await?.into_iter().collect();
        for _ in 1..BATCH {
            match self.receive_one().now_or_never() {
                Some(event) => events.extend(event?),
                None => break,
            }
        }
        Ok(events)
    }

    /// Doubles the receive buffer, as far as the kernel permits.
    pub(super) fn enlarge(&self) {
        let socket = self.socket.socket_ref();
        // The kernel reports twice what was asked for, so asking for that number doubles it.
        let doubled = socket
            .get_rx_buf_sz()
            .and_then(|size| socket.set_rx_buf_sz(i32::try_from(size).unwrap_or(i32::MAX)));
        if let Err(error) = doubled {
            tracing::debug!(%error, "cannot enlarge the buffer for process events");
        }
    }

    /// Throws away what waits in the socket.
    pub(super) fn discard(&mut self) {
        while let Some(Ok(_)) = self.receive_one().now_or_never() {}
    }

    async fn receive_one(&mut self) -> io::Result<Option<ProcessEvent>> {
        let mut datagram = Vec::with_capacity(DATAGRAM_LEN);
        let from = poll_fn(|context| self.socket.poll_recv_from(context, &mut datagram)).await?;
        // Only the kernel has port 0.
        Ok(decode(&datagram).filter(|_| from.port_number() == 0))
    }
}

fn listen_request() -> Vec<u8> {
    let payload = PROC_CN_MCAST_LISTEN.to_ne_bytes();
    let total = NLMSGHDR_LEN + CN_MSG_LEN + payload.len();
    let mut message = Vec::with_capacity(total);
    message.extend(u32::try_from(total).unwrap_or_default().to_ne_bytes());
    message.extend(NLMSG_DONE.to_ne_bytes());
    message.extend([0; 10]);
    message.extend(CN_IDX_PROC.to_ne_bytes());
    message.extend(CN_VAL_PROC.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(u16::try_from(payload.len()).unwrap_or_default().to_ne_bytes());
    message.extend([0; 2]);
    message.extend(payload);
    message
}

/// The event in a datagram; `None` for what is cut off, about a thread, or of no concern here.
#[doc(hidden)]
pub fn decode(datagram: &[u8]) -> Option<ProcessEvent> {
    let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
    let message = datagram.get(NLMSGHDR_LEN..length)?;
    if u32_at(message, 0)? != CN_IDX_PROC || u32_at(message, 4)? != CN_VAL_PROC {
        return None;
    }
    let event = message.get(CN_MSG_LEN..)?;
    let data = event.get(16..)?;
    match u32_at(event, 0)? {
        PROC_EVENT_NONE => Some(ProcessEvent::Acknowledged { error: u32_at(data, 0)?.cast_signed() }),
        PROC_EVENT_FORK => {
            let (parent, child_pid, child) = (u32_at(data, 4)?, u32_at(data, 8)?, u32_at(data, 12)?);
            (child_pid == child).then_some(ProcessEvent::Forked { parent, child })
        }
        PROC_EVENT_EXEC => Some(ProcessEvent::Renewed { pid: u32_at(data, 4)? }),
        PROC_EVENT_COMM => leader(data).map(|pid| ProcessEvent::Renewed { pid }),
        PROC_EVENT_EXIT => leader(data).map(|pid| ProcessEvent::Exited { pid }),
        _ => None,
    }
}

const PROC_EVENT_NONE: u32 = 0;
const PROC_EVENT_FORK: u32 = 0x1;
const PROC_EVENT_EXEC: u32 = 0x2;
const PROC_EVENT_COMM: u32 = 0x200;
const PROC_EVENT_EXIT: u32 = 0x8000_0000;

/// The process, when the event is about its main thread.
fn leader(data: &[u8]) -> Option<u32> {
    let (thread, process) = (u32_at(data, 0)?, u32_at(data, 4)?);
    (thread == process).then_some(process)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(what: u32, data: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; NLMSGHDR_LEN];
        bytes.extend([CN_IDX_PROC, CN_VAL_PROC, 0, 0, 0].iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend([what, 0, 0, 0].iter().chain(data).flat_map(|field| field.to_ne_bytes()));
        let length = u32::try_from(bytes.len()).expect("short");
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    /// What the kernel says to our wish to listen, asked for in this thread's network namespace.
    fn acknowledged(home: Option<&HomeNamespace>) -> io::Result<i32> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        runtime.block_on(async {
            let mut connector = Connector::open(home)?;
            loop {
                let limit = std::time::Duration::from_secs(5);
                for event in tokio::time::timeout(limit, connector.receive()).await?? {
                    if let ProcessEvent::Acknowledged { error } = event {
                        return Ok(error);
                    }
                }
            }
        })
    }

    #[test]
    fn in_another_network_namespace_the_connector_answers_at_home() {
        // Not as root, in a container or without a connector in the kernel nobody answers.
        let Ok(0) = acknowledged(None) else { return };
        let elsewhere = std::thread::spawn(|| {
            let home = HomeNamespace::here()?;
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            let own = std::fs::read_link("/proc/thread-self/ns/net")?;
            let without = acknowledged(None).map_err(|error| error.kind());
            assert_eq!(without, Err(io::ErrorKind::ConnectionRefused));
            assert_eq!(acknowledged(Some(&home))?, 0);
            assert_eq!(std::fs::read_link("/proc/thread-self/ns/net")?, own, "this thread stays where it is");
            Ok::<_, io::Error>(())
        });
        elsewhere.join().expect("no panic").expect("an answer");
    }

    #[test]
    fn events_of_processes_are_decoded_and_those_of_threads_left_out() {
        let cases = [
            (PROC_EVENT_NONE, vec![0], Some(ProcessEvent::Acknowledged { error: 0 })),
            (PROC_EVENT_FORK, vec![7, 7, 9, 9], Some(ProcessEvent::Forked { parent: 7, child: 9 })),
            (PROC_EVENT_FORK, vec![8, 7, 9, 9], Some(ProcessEvent::Forked { parent: 7, child: 9 })),
            (PROC_EVENT_FORK, vec![7, 7, 9, 7], None),
            (PROC_EVENT_EXEC, vec![9, 9], Some(ProcessEvent::Renewed { pid: 9 })),
            (PROC_EVENT_COMM, vec![9, 9, 0, 0, 0, 0], Some(ProcessEvent::Renewed { pid: 9 })),
            (PROC_EVENT_COMM, vec![10, 9, 0, 0, 0, 0], None),
            (PROC_EVENT_EXIT, vec![9, 9, 0, 17, 1, 1], Some(ProcessEvent::Exited { pid: 9 })),
            (PROC_EVENT_EXIT, vec![10, 9, 0, 17, 1, 1], None),
            (0x4, vec![9, 9, 0, 0], None),
        ];
        for (what, data, expected) in cases {
            assert_eq!(decode(&datagram(what, &data)), expected, "{what:#x} {data:?}");
        }
    }

    #[test]
    fn a_cut_off_datagram_is_no_event_and_no_panic() {
        let whole = datagram(PROC_EVENT_EXIT, &[9, 9]);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None);
        }
        let mut lying = whole;
        lying[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(decode(&lying), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        use proptest::prelude::*;
        proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..120), what in any::<u32>())| {
            decode(&bytes);
            let mut framed = datagram(what, &[]);
            framed.extend(bytes);
            let length = u32::try_from(framed.len()).expect("short");
            framed[..4].copy_from_slice(&length.to_ne_bytes());
            decode(&framed);
        });
    }
}
