//! Two pairs of interfaces in a namespace of the test's thread: `here` announces, `there` is the neighbour.

use std::net::Ipv4Addr;
use std::process::Command;

use buoy_vrrp::Claim;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkMessage};
use nix::sched::{CloneFlags, unshare};

use super::*;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const STRANGER: MacAddr = MacAddr(2, 0, 0, 0, 9, 9);

struct Lab {
    runtime: tokio::runtime::Runtime,
    announcer: Announcer,
    links: Links,
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

fn index_of(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

fn mac_of(pair: u8) -> MacAddr {
    MacAddr(2, 0, 0, 0, 0, pair)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn items(pair: u8, ip: &str) -> Arc<Items> {
    let addresses = vec![Address::plain(address(ip), 24, format!("here{pair}").into())];
    Arc::new(Items { addresses, ..Items::default() })
}

impl Lab {
    /// `None` without the rights to make a namespace. It vanishes with the thread.
    fn build() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let messages = [1, 2].map(|pair| {
            let mac = mac_of(pair);
            ip(&format!("link add here{pair} address {mac} type veth peer name there{pair}"));
            for name in [format!("here{pair}"), format!("there{pair}")] {
                // Without addresses the kernel says nothing of its own.
                ip(&format!("link set {name} addrgenmode none"));
                ip(&format!("link set {name} up"));
            }
            let mut message = LinkMessage::default();
            message.header = LinkHeader {
                index: index_of(&format!("here{pair}")),
                flags: LinkFlags::Up | LinkFlags::Running,
                ..LinkHeader::default()
            };
            message.attributes = vec![
                LinkAttribute::IfName(format!("here{pair}")),
                LinkAttribute::Address(mac.octets().to_vec()),
            ];
            message
        });
        let mut links = Links::default();
        links.resync(&messages, &[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Some(Self { runtime, announcer: Announcer::default(), links })
    }

    /// Announces an address of the router `R1` or `R2` on its pair.
    fn announce(&mut self, pair: u8, ip: &str, repeat: u32) {
        let _inside = self.runtime.enter();
        let router = Arc::from(format!("R{pair}"));
        let items = items(pair, ip);
        self.announcer.announce(&router, &items.addresses, repeat, &self.links, Instant::now());
    }

    /// Sends all that is due.
    fn send(&mut self) {
        while self.announcer.pending() > 0 {
            self.announcer.send(Instant::now());
        }
    }

    /// What the loop of the host thread does: waits for claims and reads a share of them.
    #[track_caller]
    fn claims(&mut self) -> Vec<(String, IpAddr, MacAddr)> {
        let ready = async { tokio::time::timeout(PATIENCE, self.announcer.ready()).await };
        self.runtime.block_on(ready).expect("somebody claims something");
        let claims = self.announcer.claims(&self.links).into_iter();
        claims.map(|c| (c.router.to_string(), c.address, MacAddr::from(c.mac))).collect()
    }

    /// The same while frames wait to be sent, which end the wait too.
    fn claims_amid_a_burst(&mut self) -> Vec<(String, IpAddr, MacAddr)> {
        let limit = Instant::now() + PATIENCE;
        loop {
            let claims = self.claims();
            if !claims.is_empty() || Instant::now() > limit {
                return claims;
            }
        }
    }

    /// Begins to listen for the addresses announced so far, as the loop does at every turn.
    fn listen(&mut self) {
        assert_eq!(self.announcer.claims(&self.links), []);
    }
}

/// A neighbour's socket that hears claims of `ips`.
fn neighbour(pair: u8, ips: &[&str]) -> AnnounceSocket {
    let name: Arc<str> = format!("there{pair}").into();
    let interface = Interface { index: index_of(&name), name };
    let ips: Vec<IpAddr> = ips.iter().copied().map(address).collect();
    let family = ips.first().map_or(Family::V4, |ip| Family::of(*ip));
    let socket = AnnounceSocket::open(family, &interface).unwrap();
    socket.watch(&ips).unwrap();
    socket
}

/// All that was heard once there is so much of it, or too late.
fn heard(socket: &mut AnnounceSocket, count: usize) -> Vec<Claim> {
    let mut claims = Vec::new();
    let limit = Instant::now() + PATIENCE;
    // A busy machine delivers a frame after its sender has returned.
    while claims.len() < count && Instant::now() < limit {
        assert_eq!(socket.read_claims(64, |claim| claims.push(claim)).unwrap(), Drain::Empty);
        std::thread::yield_now();
    }
    assert_eq!(socket.read_claims(64, |claim| claims.push(claim)).unwrap(), Drain::Empty);
    claims
}

fn claim(socket: &mut AnnounceSocket, ip: &str, mac: MacAddr) {
    match address(ip) {
        IpAddr::V4(ip) => socket.send(&gratuitous_arp(mac, ip)).unwrap(),
        IpAddr::V6(ip) => socket.send(&unsolicited_na(mac, ip, Forwarding::Host)).unwrap(),
    }
}

#[test]
fn neighbours_hear_each_announcement_with_the_mac_of_its_interface() {
    let Some(mut lab) = Lab::build() else { return };
    for ip in ["192.0.2.1", "2001:db8::1"] {
        let mut there = neighbour(1, &[ip]);
        lab.announce(1, ip, 2);
        lab.send();
        assert_eq!(heard(&mut there, 2), [Claim { address: address(ip), mac: mac_of(1) }; 2]);
    }
}

#[test]
fn withdrawn_addresses_are_not_announced_any_more_and_their_claims_are_nobodys() {
    let Some(mut lab) = Lab::build() else { return };
    let mut there = neighbour(1, &["192.0.2.1", "192.0.2.2"]);
    lab.announce(1, "192.0.2.1", 3);
    lab.announce(1, "192.0.2.2", 1);
    lab.announcer.withdraw(&[items(1, "192.0.2.1")]);
    lab.send();
    assert_eq!(heard(&mut there, 1), [Claim { address: address("192.0.2.2"), mac: mac_of(1) }]);
    lab.listen();
    claim(&mut there, "192.0.2.1", STRANGER);
    claim(&mut there, "192.0.2.2", STRANGER);
    assert_eq!(lab.claims(), [("R1".to_owned(), address("192.0.2.2"), STRANGER)]);
}

#[test]
fn an_address_on_two_interfaces_is_two_addresses() {
    let Some(mut lab) = Lab::build() else { return };
    let shared = "fe80::1";
    let [mut first, mut second] = [1, 2].map(|pair| neighbour(pair, &[shared]));
    for pair in [1, 2] {
        lab.announce(pair, shared, 2);
    }
    lab.listen();
    claim(&mut first, shared, STRANGER);
    assert_eq!(lab.claims_amid_a_burst(), [("R1".to_owned(), address(shared), STRANGER)]);

    lab.announcer.withdraw(&[items(1, shared)]);
    lab.send();
    assert_eq!(heard(&mut first, 0), []);
    assert_eq!(heard(&mut second, 2), [Claim { address: address(shared), mac: mac_of(2) }; 2]);
    lab.listen();
    claim(&mut second, shared, STRANGER);
    assert_eq!(lab.claims(), [("R2".to_owned(), address(shared), STRANGER)]);
}

#[test]
fn our_own_frames_are_no_foreign_claims() {
    let Some(mut lab) = Lab::build() else { return };
    let mut there = neighbour(1, &["192.0.2.1"]);
    lab.announce(1, "192.0.2.1", 1);
    lab.send();
    lab.listen();
    claim(&mut there, "192.0.2.1", mac_of(2));
    assert_eq!(lab.claims(), []);
}

#[test]
fn a_flood_is_read_in_shares_and_told_once_for_each_address() {
    let Some(mut lab) = Lab::build() else { return };
    let mut there = neighbour(1, &["192.0.2.1"]);
    for ip in ["192.0.2.1", "192.0.2.2"] {
        lab.announce(1, ip, 1);
    }
    lab.send();
    lab.listen();
    let last = MacAddr(2, 0, 0, 0, 9, 8);
    (1..FRAMES_AT_ONCE).for_each(|_| claim(&mut there, "192.0.2.1", STRANGER));
    claim(&mut there, "192.0.2.1", last);
    claim(&mut there, "192.0.2.2", STRANGER);
    assert_eq!(lab.claims(), [("R1".to_owned(), address("192.0.2.1"), last)]);
    // Nothing new has come: it is ready for what was left.
    assert_eq!(lab.claims(), [("R1".to_owned(), address("192.0.2.2"), STRANGER)]);
}

#[test]
fn an_interface_that_is_gone_is_forgotten_and_one_that_comes_back_is_opened_again() {
    let Some(mut lab) = Lab::build() else { return };
    lab.announce(1, "192.0.2.1", 5);
    lab.announcer.remove_interface(index_of("here1"));
    assert_eq!((lab.announcer.pending(), lab.announcer.ports.len(), lab.announcer.owners.len()), (0, 0, 0));
    let mut there = neighbour(1, &["192.0.2.1"]);
    lab.announce(1, "192.0.2.1", 1);
    lab.send();
    assert_eq!(heard(&mut there, 1), [Claim { address: Ipv4Addr::new(192, 0, 2, 1).into(), mac: mac_of(1) }]);
}
