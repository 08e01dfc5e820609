//! How late do checks begin, and what do they cost, when 10,000 servers are asked for a TCP connection or 2,000 for a page
//! every second; and what does an idle checked server cost in memory?
//!
//! `cargo bench -p buoy-healthcheck` asks listeners on loopback, each server an address of its own. The driver has a
//! thread with a runtime of its own, as in the daemon; the listeners share the machine with it.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use buoy_healthcheck::checker::http::{HttpCheck, HttpVersion, Page, Pages};
use buoy_healthcheck::checker::tcp::TcpCheck;
use buoy_healthcheck::driver::{Checks, Command, DriverSettings, driver};
use buoy_healthcheck::{Cadence, CheckId, CheckSettings, Deadlines, Health, Probe, Target};
use tokio::runtime::{Builder, Runtime};

const IDLE: u32 = 100_000;
const SECOND: Duration = Duration::from_secs(1);
/// Time that is measured, after a warm-up of three seconds.
const MEASURED: Duration = Duration::from_secs(20);

fn main() -> io::Result<()> {
    let runtime = || Builder::new_current_thread().enable_all().build();
    idle(&runtime()?)?;
    lateness(&runtime()?, "TCP", 10_000)?;
    lateness(&runtime()?, "HTTP", 2_000)
}

/// Resident memory of idle TCP and HTTP checks.
fn idle(runtime: &Runtime) -> io::Result<()> {
    let (checks, reports, driver) = driver(DriverSettings::default());
    runtime.spawn(driver.run());
    let address = |n: u32| SocketAddr::from((Ipv4Addr::from_bits(0x7f00_0000 + 256 + n), 9));
    for kind in ["TCP", "HTTP"] {
        let before = resident()?;
        runtime.block_on(async {
            for n in 0..IDLE {
                let id = u64::from(n) + if kind == "TCP" { 0 } else { u64::from(IDLE) };
                add(&checks, id, probe(kind, address(n)), SECOND * 3_600).await;
            }
            checks.snapshot().await.map(drop).unwrap_or_default();
        });
        let bytes = resident()?.saturating_sub(before) / u64::from(IDLE);
        println!("{kind} check, idle: {bytes} bytes resident of {IDLE}");
    }
    drop(reports);
    Ok(())
}

fn lateness(runtime: &Runtime, kind: &'static str, servers: u32) -> io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(stream, kind)));
    let (checks, mut reports, driver) = driver(DriverSettings::default());
    let drive = thread::spawn(move || -> io::Result<Duration> {
        Builder::new_current_thread().enable_all().build()?.block_on(driver.run());
        cpu()
    });
    let attempts = runtime.block_on(async {
        for n in 0..servers {
            let address = SocketAddr::from((Ipv4Addr::from_bits(0x7f00_0000 + 256 + n), port));
            add(&checks, u64::from(n), probe(kind, address), SECOND).await;
        }
        tokio::time::sleep(SECOND * 3).await;
        let (start, before) = (Instant::now(), snapshot(&checks).await);
        tokio::time::sleep(MEASURED).await;
        let after = snapshot(&checks).await;
        let per_second = (after.attempts - before.attempts) as f64 / start.elapsed().as_secs_f64();
        let up = after.reports.iter().filter(|r| r.decided && r.health == Health::Up).count();
        let late = |permille| after.lateness.quantile(permille);
        println!(
            "{kind}: {servers} servers, {up} up, {per_second:.0} checks a second, {} under way",
            after.running
        );
        println!(
            "late at most: p50 {:?}, p99 {:?}, p99.9 {:?}, worst {:?} of {}",
            late(500),
            late(990),
            late(999),
            after.lateness.max(),
            after.lateness.total()
        );
        snapshot(&checks).await.attempts
    });
    while reports.try_recv().is_some() {}
    drop(checks);
    let used = drive.join().unwrap_or_else(|_panicked| Err(io::Error::other("the driver panicked")))?;
    println!("CPU of the driver's thread: {:.1} us a check", used.as_secs_f64() * 1e6 / attempts as f64);
    Ok(())
}

/// Answers a request for a page; a TCP check has sent none. Then closes.
fn serve(mut stream: TcpStream, kind: &str) {
    if kind == "HTTP" {
        let asked = stream.read(&mut [0; 1024]);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        // A client that has gone shows in the number of servers that are up.
        drop(asked.and_then(|_| stream.write_all(answer)));
    }
}

async fn snapshot(checks: &Checks) -> buoy_healthcheck::driver::Snapshot {
    checks.snapshot().await.expect("the driver runs as long as there is a handle")
}

async fn add(checks: &Checks, id: u64, probe: Probe, interval: Duration) {
    let cadence = Cadence { interval, down_interval: interval, warmup: interval, ..Cadence::default() };
    let settings = Arc::new(CheckSettings { probe, cadence });
    let added = checks.send(Command::Replace { id: CheckId(id), settings }).await;
    added.expect("the driver runs as long as there is a handle");
}

fn probe(kind: &str, address: SocketAddr) -> Probe {
    if kind == "TCP" { tcp(address) } else { http(address) }
}

fn tcp(address: SocketAddr) -> Probe {
    Probe::Tcp(TcpCheck { target: Target::new(address), deadlines: Deadlines::default() })
}

fn http(address: SocketAddr) -> Probe {
    let page = Page::new(address.into(), "/health".parse().expect("a path"));
    Probe::Http(HttpCheck {
        target: Target { interface: Some(Arc::from("lo")), ..Target::new(address) },
        deadlines: Deadlines::default(),
        tls: None,
        version: HttpVersion::Http11,
        pages: Pages::from(page),
    })
}

/// Resident memory of this process, in bytes.
fn resident() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
    Ok(pages * 4_096)
}

/// Time on a processor of the calling thread.
fn cpu() -> io::Result<Duration> {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = schedstat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
    Ok(Duration::from_nanos(nanos))
}
