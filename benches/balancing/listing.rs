//! What the kernel tells of its IPVS table in `/proc/net/ip_vs`, which costs less than asking for it by netlink.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use buoy::lab::Host;

/// Of the namespace of the thread that reads it; `/proc/net` is that of the process.
const PATH: &str = "/proc/thread-self/net/ip_vs";
/// As much as the kernel prepares for one read.
const PAGE: usize = 4096;
/// Lines before the first service.
const HEAD: usize = 3;

/// The number of services and servers together.
pub(crate) fn entries(host: &Host) -> Result<usize> {
    Ok(text(host)?.lines().skip(HEAD).count())
}

pub(crate) fn services(host: &Host) -> Result<usize> {
    Ok(text(host)?.lines().skip(HEAD).filter(|line| !line.starts_with(' ')).count())
}

fn text(host: &Host) -> Result<String> {
    host.run(|| std::fs::read_to_string(PATH)).context("reading the table")
}

/// The first server of the first service in the listing, which is found without reading all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) service: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    pub(crate) weight: u32,
}

pub(crate) fn first(host: &Host) -> Result<First> {
    let read = || -> std::io::Result<String> {
        let mut page = vec![0; PAGE];
        let len = File::open(PATH)?.read(&mut page)?;
        Ok(String::from_utf8_lossy(page.get(..len).unwrap_or_default()).into_owned())
    };
    let page = host.run(read).context("reading the table")?;
    let mut lines = page.lines().skip(HEAD);
    let mut words = || lines.next().map(str::split_whitespace).context("the table is empty");
    let service = words()?.nth(1).and_then(address).context("a service in the listing")?;
    let mut words = words()?;
    let server = words.nth(1).and_then(address).context("a server in the listing")?;
    let weight = words.nth(1).and_then(|word| word.parse().ok()).context("a weight in the listing")?;
    Ok(First { service, server, weight })
}

/// `0A000001:0050`
fn address(word: &str) -> Option<Ipv4Addr> {
    let (address, _port) = word.split_once(':')?;
    u32::from_str_radix(address, 16).ok().map(Ipv4Addr::from)
}
