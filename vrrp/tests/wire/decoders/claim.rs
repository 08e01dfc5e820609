//! Any Ethernet frame: it claims nothing, or an address that we could announce the same way.

use std::net::IpAddr;

use buoy_vrrp::{Claim, Forwarding, gratuitous_arp, unsolicited_na};

pub(crate) fn check(frame: &[u8]) {
    let Some(claim) = Claim::read(frame) else { return };
    let ours = match claim.address {
        IpAddr::V4(address) => Claim::read(&gratuitous_arp(claim.mac, address)),
        IpAddr::V6(address) => Claim::read(&unsolicited_na(claim.mac, address, Forwarding::Host)),
    };
    assert_eq!(ours, Some(claim));
}
