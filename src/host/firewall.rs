//! `no_accept`: packets to and from the VIPs are dropped on this host, IPv6 neighbour discovery excepted.
//!
//! The rules match local delivery and local origin only, so on a backup, which does not have the addresses, they
//! match nothing. That is why they stand as long as the configuration does: no failover waits for nft.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use netlink_packet_core::Emitable;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::desired::Address;
use super::netlink::{Requester, attributes};

const TABLE: &str = "buoy_vrrp";
/// linux/netfilter/nfnetlink.h and nf_tables.h: subsystem 10, message 1.
const NFT_MSG_GETTABLE: u16 = 10 << 8 | 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFGENMSG_LEN: usize = 4;
const NEIGHBOUR_DISCOVERY: &str = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";

/// Addresses to guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guarded {
    v4: BTreeSet<Ipv4Addr>,
    v6: BTreeSet<Ipv6Addr>,
    /// The same link-local address may be somebody else's on another interface.
    link_local: BTreeSet<(Ipv6Addr, Arc<str>)>,
}

impl Guarded {
    pub fn add(&mut self, address: &Address) {
        match address.ip {
            IpAddr::V4(ip) => drop(self.v4.insert(ip)),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                self.link_local.insert((ip, address.dev.clone()));
            }
            IpAddr::V6(ip) => drop(self.v6.insert(ip)),
        }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && self.link_local.is_empty()
    }

    /// What nft is to do, in one transaction: whatever stood there goes, and the rules come.
    fn script(&self) -> String {
        let mut script = String::new();
        for family in ["ip", "ip6"] {
            // Declared first, so that deleting does not fail where there is none.
            _ = writeln!(script, "table {family} {TABLE}\ndelete table {family} {TABLE}");
        }
        if !self.v4.is_empty() {
            let rules = |side: &str| vec![format!("ip {side} @vips drop")];
            let sets = vec![set("vips", "ipv4_addr", self.v4.iter().map(Ipv4Addr::to_string))];
            script += &table("ip", &sets, &rules("daddr"), &rules("saddr"));
        }
        if !self.v6.is_empty() || !self.link_local.is_empty() {
            let rules = |side: &str, interface: &str| {
                vec![
                    NEIGHBOUR_DISCOVERY.to_owned(),
                    format!("ip6 {side} @vips drop"),
                    format!("ip6 {side} . {interface} @link_local_vips drop"),
                ]
            };
            let link_local = self.link_local.iter().map(|(ip, dev)| format!("{ip} . \"{dev}\""));
            let sets = vec![
                set("vips", "ipv6_addr", self.v6.iter().map(Ipv6Addr::to_string)),
                set("link_local_vips", "ipv6_addr . ifname", link_local),
            ];
            script += &table("ip6", &sets, &rules("daddr", "iifname"), &rules("saddr", "oifname"));
        }
        script
    }
}

fn set(name: &str, kind: &str, elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.collect();
    if elements.is_empty() {
        format!(" set {name} {{ type {kind}; }}\n")
    } else {
        format!(" set {name} {{ type {kind}; elements = {{ {} }}; }}\n", elements.join(", "))
    }
}

fn table(family: &str, sets: &[String], input: &[String], output: &[String]) -> String {
    let chain = |name: &str, hook: &str, rules: &[String]| {
        let rules = rules.join("\n  ");
        format!(" chain {name} {{\n  type filter hook {hook} priority -1;\n  {rules}\n }}\n")
    };
    let (input, output) = (chain("in", "input", input), chain("out", "output", output));
    format!("table {family} {TABLE} {{\n{}{input}{output}}}\n", sets.concat())
}

/// Runs nft, one script after another, on threads of its own: the host thread never waits for it but at the end.
#[derive(Debug, Default)]
pub(super) struct Firewall {
    standing: Option<Guarded>,
    worker: Option<JoinHandle<()>>,
}

impl Firewall {
    /// The first call also removes what an earlier run left behind. Without anything to guard or to remove nft is not
    /// run, so that nobody needs it who does not use `no_accept`.
    pub(super) fn apply(&mut self, guarded: &Guarded) {
        if self.standing.as_ref() == Some(guarded) {
            return;
        }
        let first = self.standing.replace(guarded.clone()).is_none();
        if !(first && guarded.is_empty()) || tables_are_there() {
            self.start(guarded.clone());
        }
    }

    /// Removes the tables and waits for it.
    pub(super) fn remove(&mut self) {
        if self.standing.take().is_some_and(|guarded| !guarded.is_empty()) {
            self.start(Guarded::default());
        }
        self.wait();
    }

    /// Until every script so far has run.
    pub(super) fn wait(&mut self) {
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            tracing::error!("the thread that runs nft panicked");
        }
    }

    fn start(&mut self, guarded: Guarded) {
        let earlier = self.worker.take();
        let work = move || {
            if earlier.is_some_and(|earlier| earlier.join().is_err()) {
                tracing::error!("the thread that runs nft panicked");
            }
            match run_nft(&guarded.script()) {
                Ok(()) => {}
                Err(error) if guarded.is_empty() => {
                    tracing::warn!(%error, "no_accept: nft could not remove the tables; packets are still dropped");
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::error!(
                        "no_accept needs the program nft, which is not installed; packets to the VIPs are accepted"
                    );
                }
                Err(error) => {
                    tracing::error!(%error, "no_accept: nft failed; packets to the VIPs are accepted")
                }
            }
        };
        match std::thread::Builder::new().name("nft".to_owned()).spawn(work) {
            Ok(worker) => self.worker = Some(worker),
            Err(error) => tracing::error!(%error, "no_accept: could not start a thread for nft"),
        }
    }
}

/// A kernel that does not say, for want of nf_tables or of the permission to ask, has none of ours.
fn tables_are_there() -> bool {
    let ask = || {
        let mut found = false;
        let mut requester = Requester::open_to(NETLINK_NETFILTER, Arc::default())?;
        requester.dump(NFT_MSG_GETTABLE, &AllFamilies, |frame| {
            let named = frame.payload.get(NFGENMSG_LEN..).is_some_and(|body| {
                attributes(body).any(|(kind, name)| kind == NFTA_TABLE_NAME && is_text(&name, TABLE))
            });
            found |= named;
        })?;
        io::Result::Ok(found)
    };
    ask().unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot list the tables of nftables");
        false
    })
}

fn is_text(bytes: &[u8], text: &str) -> bool {
    bytes.strip_suffix(&[0]).unwrap_or(bytes) == text.as_bytes()
}

/// `struct nfgenmsg` with NFPROTO_UNSPEC.
struct AllFamilies;

impl Emitable for AllFamilies {
    fn buffer_len(&self) -> usize {
        NFGENMSG_LEN
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

fn run_nft(script: &str) -> io::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output()?;
    if output.status.success() {
        return written;
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(message.lines().next().unwrap_or("no message").to_owned()))
}

#[cfg(test)]
mod tests;
