//! Whether what came out is what should have.
//!
//! Two fields are anybody's choice, and are compared as far as they are not:
//! - the identification of IPv4 packets that the director makes itself (answers, tunnels), unless one of the two has
//!   none, and of fragments of such packets of IPv6. The sums of IPv4 headers have to be right.
//! - the source port of GUE, which is a hash with a secret in it. It has to be within the range of the kernel's
//!   ephemeral ports, and a checksum over it has to be right.

use std::ops::RangeInclusive;

use buoy_ipvs::engine::checksum::Sum;
use buoy_ipvs::engine::packet::{Fragment, View, protocol};

use crate::house::Emitted;
use crate::packet::described;

/// A packet that should come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) to: [u8; 6],
    pub(crate) bytes: Vec<u8>,
    /// The director made it, or its outer header.
    pub(crate) made: bool,
}

/// How often fields were left out of a comparison.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Masked {
    pub(crate) identifications: usize,
    pub(crate) gue_ports: usize,
    /// Entries of the engine whose server was removed, where that ends them.
    pub(crate) orphans: usize,
    /// Answers that the kernel counts for the connection whose place could not be taken.
    pub(crate) last_answers: usize,
    /// Scripts that went no further because the kernel brought a connection back that was about to end.
    pub(crate) unfinished: usize,
}

impl Masked {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.identifications += other.identifications;
        self.gue_ports += other.gue_ports;
        self.orphans += other.orphans;
        self.last_answers += other.last_answers;
        self.unfinished += other.unfinished;
    }
}

/// `net.ipv4.ip_local_port_range`
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// # Errors
/// What differs.
pub(crate) fn compare(expected: &[Expected], seen: &[Emitted], masked: &mut Masked) -> Result<(), String> {
    let alike = expected.len() == seen.len()
        && expected.iter().zip(seen).all(|(expected, seen)| {
            let [mut ours, mut theirs] = [&expected.bytes, &seen.bytes].map(|bytes| bytes.clone());
            if expected.made {
                mask(&mut ours, &mut theirs, masked);
            }
            expected.to == seen.to && ours == theirs
        });
    if alike {
        return Ok(());
    }
    let list = |packets: Vec<([u8; 6], &[u8])>| {
        let lines: Vec<_> = packets
            .into_iter()
            .map(|(to, bytes)| format!("\n        to {to:02x?} {}", described(bytes)))
            .collect();
        if lines.is_empty() { " nothing".to_owned() } else { lines.concat() }
    };
    Err(format!(
        "expected{}\n      the kernel sends{}",
        list(expected.iter().map(|packet| (packet.to, packet.bytes.as_slice())).collect()),
        list(seen.iter().map(|packet| (packet.to, packet.bytes.as_slice())).collect()),
    ))
}

/// Leaves out of both what is anybody's choice.
fn mask(ours: &mut [u8], theirs: &mut [u8], masked: &mut Masked) {
    let gue = [&*ours, &*theirs].map(gue_port);
    if let [Some(a), Some(b)] = gue
        && a.port != b.port
        && [&a, &b].iter().all(|it| EPHEMERAL.contains(&it.port) && it.has_right_sum)
    {
        for (bytes, gue) in [(&mut *ours, &a), (&mut *theirs, &b)] {
            bytes[gue.at..gue.at + 2].fill(0);
            if gue.has_sum {
                bytes[gue.at + 6..gue.at + 8].fill(1);
            }
        }
        masked.gue_ports += 1;
    }
    let identifications = [&*ours, &*theirs].map(identification);
    if let [Some(a), Some(b)] = identifications
        && a != b
    {
        for (bytes, places) in [(ours, a.1), (theirs, b.1)] {
            places.into_iter().for_each(|place| bytes[place] = 0);
        }
        masked.identifications += 1;
    }
}

/// The identification of a packet that has one, and what in the packet depends on it: of IPv4 with a right sum of its header.
fn identification(packet: &[u8]) -> Option<(u32, Vec<usize>)> {
    if let Some(header @ [0x45, _, _, _, a, b, ..]) = packet.first_chunk::<20>() {
        let identification = u32::from(u16::from_be_bytes([*a, *b]));
        let is_right = Sum::of(header).checksum() == 0;
        return (is_right && identification != 0).then(|| (identification, vec![4, 5, 10, 11]));
    }
    match packet.first_chunk::<48>()? {
        [first, _, _, _, _, _, FRAGMENT, .., a, b, c, d] if first >> 4 == 6 => {
            Some((u32::from_be_bytes([*a, *b, *c, *d]), vec![44, 45, 46, 47]))
        }
        _ => None,
    }
}

/// The extension header of IPv6.
const FRAGMENT: u8 = 44;

struct Gue {
    at: usize,
    port: u16,
    has_sum: bool,
    has_right_sum: bool,
}

/// Of a datagram from the director: it sends no others.
fn gue_port(packet: &[u8]) -> Option<Gue> {
    let view = View::read(packet).ok()?;
    let ports = view.ports.filter(|_| view.protocol == protocol::UDP)?;
    let datagram = view.payload(packet);
    let has_sum = datagram.get(6..8)? != [0, 0];
    let pseudo = Sum::of_pseudo_header(view.source, view.destination, protocol::UDP, datagram.len());
    // Of one that was cut there is nothing to sum here.
    let is_right =
        !has_sum || view.fragment != Fragment::Whole || pseudo.plus(Sum::of(datagram)).checksum() == 0;
    Some(Gue { at: view.transport, port: ports.source, has_sum, has_right_sum: is_right })
}
