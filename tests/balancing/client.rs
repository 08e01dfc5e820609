//! Clients: one that asks, one that asks all the time, one that keeps connections, one that sends from one port.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use buoy::lab::{Host, Switch};
use socket2::{Domain, Protocol, Socket, Type};

use crate::site::{SOON, back_address, back_address6, wait_until};

/// An answer that takes longer is none. TCP sends a lost SYN again after 1 s and 3 s.
const PATIENCE: Duration = Duration::from_secs(8);

/// The host of the clients.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) host: Host,
}

/// How often each server has answered, by name.
pub(crate) type Tally = BTreeMap<String, usize>;

impl Client {
    pub(crate) fn new(front: &Switch, back: &Switch) -> Self {
        let host = Host::new("client").expect("a host");
        front.connect(&host, "eth0").expect("a cable");
        back.connect(&host, "eth1").expect("a cable");
        for number in 0..10 {
            for address in [format!("{}/24", Self::address(number)), format!("{}/64", Self::address6(number))]
            {
                host.add_address("eth0", address.parse().expect("an address")).expect("an address");
            }
        }
        for address in [format!("{}/24", back_address(250)), format!("{}/64", back_address6(250))] {
            host.add_address("eth1", address.parse().expect("an address")).expect("an address");
        }
        host.sysctl("net/ipv4/conf/all/rp_filter", "0").expect("a setting");
        Self { host }
    }

    /// The client has ten addresses in each family.
    pub(crate) fn address(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, 10 + number).into()
    }

    pub(crate) fn address6(number: u8) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number.into()).into()
    }

    /// Asks over a new connection, from one of the client's addresses; who answered.
    pub(crate) fn ask(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<String> {
        self.host.run(move || Held::open(from, to).map(|held| held.name))
    }

    /// Asks by a datagram from a new port; who answered.
    pub(crate) fn ask_by_datagram(&self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<String> {
        self.host.run(move || {
            let socket = datagram_socket(from, 0, to)?;
            socket.send(b"who?")?;
            name_in_datagram(&socket)
        })
    }

    /// Asks so often over new connections.
    #[track_caller]
    pub(crate) fn tally(&self, count: usize, to: SocketAddr) -> Tally {
        tally(count, || self.ask(None, to), to)
    }

    /// Asks so often by datagrams, each from a new port.
    #[track_caller]
    pub(crate) fn tally_datagrams(&self, count: usize, to: SocketAddr) -> Tally {
        tally(count, || self.ask_by_datagram(None, to), to)
    }

    /// Sends so many datagrams from one port.
    #[track_caller]
    pub(crate) fn tally_from_one_port(&self, count: usize, to: SocketAddr) -> Tally {
        let socket = self.host.run(move || datagram_socket(None, 0, to)).expect("a socket");
        let ask = || {
            socket.send(b"who?")?;
            name_in_datagram(&socket)
        };
        tally(count, ask, to)
    }

    /// Opens a connection that has been answered once, and keeps it.
    pub(crate) fn hold(&self, to: SocketAddr) -> io::Result<Held> {
        self.host.run(move || Held::open(None, to))
    }

    /// Starts asking over new connections, all the time.
    pub(crate) fn load(&self, to: SocketAddr) -> Load {
        const THREADS: usize = 4;
        let shared = Arc::new(Shared::default());
        let threads = (0..THREADS).map(|_| {
            let shared = Arc::clone(&shared);
            self.host.run(move || thread::spawn(move || shared.ask_all_the_time(to)))
        });
        Load { threads: threads.collect(), shared }
    }

    /// Starts sending datagrams from one port, all the time.
    pub(crate) fn send_from_one_port(&self, to: SocketAddr) -> Load {
        let shared = Arc::new(Shared::default());
        let sender = Arc::clone(&shared);
        let thread = self.host.run(move || thread::spawn(move || sender.send_all_the_time(to)));
        Load { threads: vec![thread], shared }
    }
}

#[track_caller]
fn tally(count: usize, mut ask: impl FnMut() -> io::Result<String>, to: SocketAddr) -> Tally {
    let mut tally = Tally::new();
    for number in 0..count {
        match ask() {
            Ok(name) => *tally.entry(name).or_default() += 1,
            Err(error) => panic!("question {number} of {count} to {to}: {error}; so far {tally:?}"),
        }
    }
    tally
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Held {
    stream: BufReader<TcpStream>,
    /// Who answers.
    pub(crate) name: String,
}

impl Held {
    /// Ends the connection by a reset.
    pub(crate) fn reset(self) {
        let stream = self.stream.into_inner();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a setting");
    }

    /// Acknowledges the last answer now, rather than with the next question or some time later.
    pub(crate) fn acknowledge(&self) {
        socket2::SockRef::from(self.stream.get_ref()).set_tcp_quickack(true).expect("a setting");
    }

    fn open(from: Option<IpAddr>, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        socket.connect_timeout(&to.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut held = Self { stream: BufReader::new(stream), name: String::new() };
        held.name = held.ask("who?")?;
        Ok(held)
    }

    /// Asks again over the same connection; who answered. The question comes back whole, or it is an error.
    pub(crate) fn ask(&mut self, question: &str) -> io::Result<String> {
        self.stream.get_mut().write_all(format!("{question}\n").as_bytes())?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(' ') {
            Some((name, answer)) if answer == question => Ok(name.to_owned()),
            _ => Err(io::Error::other(format!("a strange answer of {} bytes", line.len()))),
        }
    }
}

fn datagram_socket(from: Option<IpAddr>, port: u16, to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((from.unwrap_or(any), port))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn name_in_datagram(socket: &UdpSocket) -> io::Result<String> {
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer)?;
    let text = String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned();
    let name = text.split_whitespace().next().unwrap_or_default();
    Ok(name.to_owned())
}

/// Questions that go on until [`Load::end`].
#[derive(Debug)]
pub(crate) struct Load {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answers: Mutex<Vec<Answer>>,
}

/// What became of one question.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
    /// Who answered, or why nobody did.
    pub(crate) outcome: Result<String, String>,
}

impl Load {
    /// What has been answered so far.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self) -> usize {
        self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for so many more answers, failures included.
    #[track_caller]
    pub(crate) fn wait_for_answers(&self, count: usize) {
        let before = self.count();
        wait_until(SOON, || self.count() >= before + count, || format!("{count} more answers"));
    }

    /// Ends it; everything that was answered, in the order asked.
    pub(crate) fn end(mut self) -> Vec<Answer> {
        self.stop();
        let mut answers = self.answers();
        answers.sort_by_key(|answer| answer.asked);
        answers
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client does not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn ask_all_the_time(&self, to: SocketAddr) {
        while !self.stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let outcome = Held::open(None, to).map(|held| held.name).map_err(|error| error.to_string());
            self.note(asked, outcome);
            // Leaves the one processor to the others as well.
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn send_all_the_time(&self, to: SocketAddr) {
        /// What is not answered by then was lost: the next datagram goes out.
        const PACE: Duration = Duration::from_millis(50);
        let socket = datagram_socket(None, 0, to).expect("a socket");
        socket.set_read_timeout(Some(PACE)).expect("a limit");
        while !self.stop.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let outcome = socket.send(b"who?").and_then(|_| name_in_datagram(&socket));
            self.note(asked, outcome.map_err(|error| error.to_string()));
            thread::sleep(PACE.saturating_sub(asked.elapsed()));
        }
    }

    fn note(&self, asked: Instant, outcome: Result<String, String>) {
        let answer = Answer { asked, answered: Instant::now(), outcome };
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }
}

/// Who answered how often, failures aside.
pub(crate) fn tally_of(answers: &[Answer]) -> Tally {
    let mut tally = Tally::new();
    for name in answers.iter().filter_map(|answer| answer.outcome.as_ref().ok()) {
        *tally.entry(name.clone()).or_default() += 1;
    }
    tally
}

/// The questions that nobody answered.
pub(crate) fn failures(answers: &[Answer]) -> Vec<&Answer> {
    answers.iter().filter(|answer| answer.outcome.is_err()).collect()
}
