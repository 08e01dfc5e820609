//! What it costs to check two thousand servers: processor time for each check, and memory.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use buoy::lab::Host;

use crate::Effort;
use crate::contestant::{Contestant, Contestants, Pair, wait_until};
use crate::director::Director;
use crate::report::{Report, Target};
use crate::sample::Sample;
use crate::server::{Kind, Server};
use crate::usage::{self, Memory, Meter, cpu_of_this_thread, mib};
use crate::{listing, table};

const SERVERS: usize = 2_000;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);
/// keepalived's processes may share what Buoy has in one, and a little more.
const MORE_MEMORY: Target = Target::KeepalivedAnd(10.0);

/// `interval` is the time from one check of a server to its next, in seconds.
pub(crate) fn measure(
    contestants: &Contestants,
    effort: Effort,
    interval: u32,
    report: &mut Report,
) -> Result<()> {
    let (rounds, length) = match effort {
        Effort::Full => (3, Duration::from_secs(20)),
        Effort::Quick => (1, Duration::from_secs(8)),
    };
    for kind in [Kind::Tcp, Kind::Http] {
        let seen = contestants.in_turns(rounds, |contestant| observe(contestant, kind, interval, length))?;
        let name = match kind {
            Kind::Tcp => "TCP",
            Kind::Http => "HTTP",
        };
        let mut add = |measure: String, unit, target, figure: fn(&Observed) -> f64| -> Result<()> {
            let median = |all: &Vec<Observed>| Sample::of(all.iter().map(figure)).context("no runs");
            let samples = Pair { buoy: median(&seen.buoy)?, keepalived: median(&seen.keepalived)? };
            report.add(measure, unit, samples.map(Sample::median), target);
            Ok(())
        };
        let what = format!("{SERVERS} servers, {name} check every {interval} s");
        add(format!("{what}: CPU per check"), "µs", Target::Half, |o| o.cost)?;
        add(
            format!("{what}: the kernel's share of it, by a loop that only connects"),
            "µs",
            Target::None,
            |o| o.floor,
        )?;
        add(format!("{what}: checks made"), "/s", Target::None, |o| o.rate)?;
        add(format!("{what}: resident memory"), "MiB", MORE_MEMORY, |o| mib(o.memory.resident))?;
        add(format!("{what}: the same, shared pages counted once"), "MiB", MORE_MEMORY, |o| {
            mib(o.memory.proportional)
        })?;
    }
    Ok(())
}

struct Observed {
    /// Microseconds of processor time per check.
    cost: f64,
    /// The same of the least program that could make them, in the same minute.
    floor: f64,
    /// Checks per second.
    rate: f64,
    memory: Memory,
}

fn observe(contestant: &Contestant, kind: Kind, interval: u32, length: Duration) -> Result<Observed> {
    let host = Host::new("director")?;
    let server = Server::start(&host)?;
    let director = Director::start(contestant, &host, &configuration(kind, interval))?;
    let warm = u64::try_from(SERVERS * 3)?;
    let (limit, pause) = (Duration::from_secs(120), Duration::from_millis(500));
    wait_until("every server was checked", limit, pause, || Ok(server.count(kind)? > warm))?;
    let (begin, counted) = (Meter::read(&director.process)?, server.count(kind)?);
    sleep(length);
    let spent = Meter::read(&director.process)?.since(&begin);
    let checks = u32::try_from(server.count(kind)? - counted)?;
    ensure!(checks > 0, "{} makes no checks", contestant.name);
    let up = listing::entries(&host)?;
    ensure!(up == 1 + SERVERS, "{up} entries are in IPVS with {}", contestant.name);
    let memory = usage::memory(&director.process)?;
    drop(director);
    Ok(Observed {
        floor: host.run(move || floor(kind))?,
        cost: spent.used.as_secs_f64() * 1e6 / f64::from(checks),
        rate: f64::from(checks) / spent.elapsed.as_secs_f64(),
        memory,
    })
}

/// What a check costs at least, in microseconds: a socket, a connection, for HTTP a question and an answer, the end; all
/// without waiting for anything but the server.
fn floor(kind: Kind) -> Result<f64> {
    let before = cpu_of_this_thread();
    for number in 0..SERVERS {
        let server = table::nth(FIRST, number);
        let mut stream = TcpStream::connect((server, kind.port())).context("connecting")?;
        if kind == Kind::Http {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").context("asking")?;
            stream.read_to_end(&mut Vec::with_capacity(1024)).context("hearing")?;
        }
    }
    let used = cpu_of_this_thread().saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / f64::from(u32::try_from(SERVERS)?))
}

fn configuration(kind: Kind, interval: u32) -> String {
    let mut text = format!(
        "virtual_server 10.0.0.1 80 {{\n    delay_loop {interval}\n    lvs_sched wrr\n    lvs_method NAT\n    \
         protocol TCP\n"
    );
    let check = match kind {
        Kind::Tcp => "TCP_CHECK {\n            connect_timeout 5\n        }",
        Kind::Http => {
            "HTTP_GET {\n            url {\n                path /\n                status_code 200\n            \
             }\n            connect_timeout 5\n        }"
        }
    };
    let port = kind.port();
    for number in 0..SERVERS {
        let server = table::nth(FIRST, number);
        // Writing to a string cannot fail.
        write!(text, "    real_server {server} {port} {{\n        weight 1\n        {check}\n    }}\n").ok();
    }
    text.push_str("}\n");
    text
}
