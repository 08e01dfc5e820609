//! Packets of clients, as short as can be.

use buoy_ipvs::engine::checksum::Sum;
use std::net::{IpAddr, SocketAddr};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;

pub(super) fn tcp(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<u8> {
    let numbers_and_window = [0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0];
    ip(from, to, 6, &numbers_and_window)
}

/// Without a checksum, and without data.
pub(super) fn udp(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    ip(from, to, 17, &[0, 8, 0, 0])
}

/// `rest` is what follows the ports. Checksums of the transport are those of nobody: the engine only adds to them.
fn ip(from: SocketAddr, to: SocketAddr, protocol: u8, rest: &[u8]) -> Vec<u8> {
    let transport = [&from.port().to_be_bytes(), &to.port().to_be_bytes(), rest].concat();
    let length = |header: usize| u16::try_from(header + transport.len()).unwrap().to_be_bytes();
    let header = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = length(20);
            let fixed = [0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0];
            let mut header = [&fixed[..], &from.octets(), &to.octets()].concat();
            let checksum = Sum::of(&header).checksum().to_be_bytes();
            header[10..12].copy_from_slice(&checksum);
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = length(0);
            let fixed = [0x60, 0, 0, 0, high, low, protocol, 64];
            [&fixed[..], &from.octets(), &to.octets()].concat()
        }
        other => panic!("{other:?}"),
    };
    [header, transport].concat()
}
