//! What a client sees of a service: a [`Probe`] asks a virtual address a thousand times a second, an [`Echo`]
//! on every director answers, and the [`Report`] tells how long nobody did.

use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter, pipe};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};

use super::Host;

/// A UDP echo service on every address a host has or gets. It stops when dropped.
#[derive(Debug)]
pub struct Echo {
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    /// Closing it wakes the thread.
    stop: Option<PipeWriter>,
}

impl Echo {
    /// Answers on `port` for both families, each question from the address it was sent to.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let sockets = host
            .run(move || -> io::Result<[UdpSocket; 2]> {
                let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
                setsockopt(&v4, Ipv4PacketInfo, &true)?;
                let v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None)?;
                v6.set_only_v6(true)?;
                v6.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
                setsockopt(&v6, Ipv6RecvPacketInfo, &true)?;
                Ok([v4, v6.into()])
            })
            .context("opening the echo port")?;
        let (stopped, stop) = pipe().context("pipe of the echo service")?;
        let answered = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&answered);
        let thread = thread::Builder::new()
            .name(format!("{}-echo", host.name()))
            .spawn(move || serve(&sockets, &stopped, &count))
            .context("starting the echo thread")?;
        Ok(Self { answered, thread: Some(thread), stop: Some(stop) })
    }

    /// How many questions this host has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn serve(sockets: &[UdpSocket; 2], stopped: &PipeReader, answered: &AtomicU64) {
    let [v4, v6] = sockets;
    loop {
        let mut ready =
            [v4.as_fd(), v6.as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let [v4_ready, v6_ready, stop] = ready.map(|fd| fd.any().unwrap_or(false));
        if stop {
            return;
        }
        for (socket, _) in [(v4, v4_ready), (v6, v6_ready)].iter().filter(|(_, ready)| *ready) {
            // A question whose address went away before the answer stays unanswered: that is the measurement.
            if answer(socket).is_ok() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn answer(socket: &UdpSocket) -> nix::Result<()> {
    let mut question = [0; QUESTION_LIMIT];
    let mut control = cmsg_space!(nix::libc::in6_pktinfo);
    let (length, from, asked) = {
        let mut parts = [IoSliceMut::new(&mut question)];
        let message = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        )?;
        (message.bytes, message.address, message.cmsgs()?.next())
    };
    let text = question.get(..length).unwrap_or_default();
    let parts = [IoSlice::new(text)];
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket.as_raw_fd(), &parts, control, MsgFlags::MSG_DONTWAIT, from.as_ref()).map(drop)
    };
    // The packet information of a question, sent back, makes the address asked the source of the answer.
    match &asked {
        Some(ControlMessageOwned::Ipv4PacketInfo(info)) => send(&[ControlMessage::Ipv4PacketInfo(info)]),
        Some(ControlMessageOwned::Ipv6PacketInfo(info)) => send(&[ControlMessage::Ipv6PacketInfo(info)]),
        _ => send(&[]),
    }
}

/// Asks an address in a fixed rhythm until it is dropped. It remembers every question (48 bytes), so it is
/// meant for an experiment, not for a day.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    interval: Duration,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stopping: AtomicBool,
    record: Mutex<Record>,
    answered: Condvar,
    /// Zero of the times in the record.
    start: Instant,
    start_time: SystemTime,
}

#[derive(Debug, Default)]
struct Record {
    /// One per question, in the order asked.
    questions: Vec<Question>,
    /// Answers in the order they came: since start.
    answers: Vec<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    sent: Duration,
    answered: Option<Duration>,
}

/// What a probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub sent: usize,
    /// Questions without an answer. Those of the last [`SETTLE`] before the report are not counted.
    pub lost: usize,
    /// The longest time between two answers, and when it began. Undisturbed it is about the probe's interval.
    /// Time before the first answer does not count; time after the last one does.
    pub longest_gap: Duration,
    pub gap_began: Option<SystemTime>,
    /// The slowest answer that came at all.
    pub slowest_answer: Duration,
}

/// How long an answer may take before a question can count as lost.
pub const SETTLE: Duration = Duration::from_millis(50);

const QUESTION_LIMIT: usize = 64;

impl Probe {
    /// The rhythm of [`Probe::start`]: 1 kHz.
    pub const INTERVAL: Duration = Duration::from_millis(1);

    /// Asks `target`, where [`Echo`]s listen on `port`, from `client` every millisecond.
    ///
    /// # Errors
    /// When the client cannot open a socket.
    pub fn start(client: &Host, target: IpAddr, port: u16) -> Result<Self> {
        Self::every(Self::INTERVAL, client, target, port)
    }

    /// Asks in another rhythm.
    ///
    /// # Errors
    /// When the client cannot open a socket.
    pub fn every(interval: Duration, client: &Host, target: IpAddr, port: u16) -> Result<Self> {
        let local: IpAddr = match target {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = client.run(move || UdpSocket::bind((local, 0))).context("opening the probe's socket")?;
        socket.set_read_timeout(Some(Duration::from_millis(20))).context("probe socket")?;
        let asking = socket.try_clone().context("probe socket")?;
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            record: Mutex::default(),
            answered: Condvar::new(),
            start: Instant::now(),
            start_time: SystemTime::now(),
        });
        let target = SocketAddr::new(target, port);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(format!("{}-{name}", client.name())).spawn(work)
        };
        let (asker, listener) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            spawn("listen", Box::new(move || listener.listen(&socket, target))).context("probe thread")?,
            spawn("ask", Box::new(move || asker.ask(&asking, target, interval))).context("probe thread")?,
        ];
        Ok(Self { shared, interval, threads })
    }

    /// Waits until an answer comes to a question sent after this call.
    ///
    /// # Errors
    /// When none has come within `limit`.
    pub fn wait_for_answer(&self, limit: Duration) -> Result<()> {
        let asked = self.shared.start.elapsed();
        let deadline = Instant::now() + limit;
        let mut record = self.shared.lock();
        loop {
            let fresh = record.questions.iter().rev().take_while(|question| question.sent >= asked);
            if fresh.into_iter().any(|question| question.answered.is_some()) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            anyhow::ensure!(!left.is_zero(), "no answer within {limit:?}");
            record =
                self.shared.answered.wait_timeout(record, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What was seen since `since` (use [`SystemTime::UNIX_EPOCH`] for everything).
    pub fn report_since(&self, since: SystemTime) -> Report {
        let now = self.shared.start.elapsed();
        let since = since.duration_since(self.shared.start_time).unwrap_or_default();
        self.shared.lock().report(since, now, self.shared.start_time)
    }

    /// How far apart the questions are.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, socket: &UdpSocket, target: SocketAddr, interval: Duration) {
        let mut due = Duration::ZERO;
        while !self.stopping.load(Ordering::Relaxed) {
            let number = {
                let mut record = self.lock();
                record.questions.push(Question { sent: self.start.elapsed(), answered: None });
                record.questions.len() - 1
            };
            // An unreachable target is what a probe is there to notice.
            socket.send_to(&number.to_be_bytes(), target).ok();
            // After a stall of this machine the missed questions are skipped, not fired in a burst.
            let now = self.start.elapsed();
            due = (due + interval).max(now.saturating_sub(interval));
            thread::sleep(due.saturating_sub(now));
        }
    }

    fn listen(&self, socket: &UdpSocket, target: SocketAddr) {
        let mut answer = [0; QUESTION_LIMIT];
        while !self.stopping.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut answer) else { continue };
            let now = self.start.elapsed();
            let number = answer.get(..length).and_then(|text| text.try_into().ok()).map(usize::from_be_bytes);
            if from.ip() != target.ip() {
                continue;
            }
            let mut record = self.lock();
            let Some(question) = number.and_then(|number| record.questions.get_mut(number)) else { continue };
            if question.answered.replace(now).is_none() {
                record.answers.push(now);
                self.answered.notify_all();
            }
        }
    }
}

impl Record {
    fn report(&self, since: Duration, now: Duration, start_time: SystemTime) -> Report {
        let asked = || self.questions.iter().filter(|question| question.sent >= since);
        let settled = now.saturating_sub(SETTLE);
        // The last answer before `since` opens the first gap, the present closes the last one, unless the
        // silence is too young to be one.
        let first = self.answers.partition_point(|answer| *answer < since);
        let mut times: Vec<Duration> = self.answers.iter().skip(first.saturating_sub(1)).copied().collect();
        if times.last().is_some_and(|last| *last < settled) {
            times.push(now);
        }
        let gaps = times.iter().zip(times.iter().skip(1)).map(|(from, to)| (to.saturating_sub(*from), *from));
        let longest = gaps.max_by_key(|(gap, _)| *gap);
        Report {
            sent: asked().count(),
            lost: asked().filter(|question| question.answered.is_none() && question.sent < settled).count(),
            longest_gap: longest.map(|(gap, _)| gap).unwrap_or_default(),
            gap_began: longest.map(|(_, from)| start_time + from),
            slowest_answer: asked()
                .filter_map(|question| Some(question.answered?.saturating_sub(question.sent)))
                .max()
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
