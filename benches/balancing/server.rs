//! All real servers in one process: ports on every address of the host, and how many checks have come to them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use buoy::lab::{Host, Process};
use socket2::{Domain, Socket, Type};

/// Takes connections and closes them.
pub(crate) const TCP: u16 = 25;
/// Answers every request with the same page.
pub(crate) const HTTP: u16 = 80;
/// Tells the number of connections taken and of requests answered.
const COUNTS: u16 = 8003;

/// Checks that come at once wait here.
const BACKLOG: i32 = 4096;
const PAGE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwell\n";

/// The process on a host.
pub(crate) struct Server {
    host: Host,
    _process: Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Http,
}

impl Kind {
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Tcp => TCP,
            Self::Http => HTTP,
        }
    }
}

impl Server {
    pub(crate) fn start(host: &Host) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
        command.arg("--serve");
        let process = host.spawn(command)?;
        process.wait_for_line("serving", Duration::from_secs(30))?;
        Ok(Self { host: host.clone(), _process: process })
    }

    /// How many checks of this kind it has had.
    pub(crate) fn count(&self, kind: Kind) -> Result<u64> {
        let told = self.host.run(|| -> std::io::Result<String> {
            let mut told = String::new();
            TcpStream::connect((Ipv4Addr::LOCALHOST, COUNTS))?.read_to_string(&mut told)?;
            Ok(told)
        });
        let told = told.context("asking the server for its counts")?;
        let (tcp, http) = told.trim().split_once(' ').context("two counts")?;
        let count = match kind {
            Kind::Tcp => tcp,
            Kind::Http => http,
        };
        count.parse().context("a count")
    }
}

/// What the process does, for ever.
pub(crate) fn run() -> Result<()> {
    let [tcp, http] = [TCP, HTTP].map(|port| listener(Ipv4Addr::UNSPECIFIED, port));
    let (tcp, http, counts) = (tcp?, http?, listener(Ipv4Addr::LOCALHOST, COUNTS)?);
    let [taken, answered] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&taken);
    thread::spawn(move || {
        for _closed in tcp.incoming().flatten() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let counter = Arc::clone(&answered);
    thread::spawn(move || {
        for stream in http.incoming().flatten() {
            if answer(stream).is_ok() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    println!("serving");
    for mut stream in counts.incoming().flatten() {
        let (taken, answered) = (taken.load(Ordering::Relaxed), answered.load(Ordering::Relaxed));
        stream.write_all(format!("{taken} {answered}\n").as_bytes()).context("telling the counts")?;
    }
    Ok(())
}

/// The standard library's listeners have room for 128.
fn listener(address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((address, port)).into()).with_context(|| format!("binding port {port}"))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(buffer.get(..len).unwrap_or_default());
    }
    stream.write_all(PAGE)
}
