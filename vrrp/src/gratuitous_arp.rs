//! Announcing that an address lives here, by gratuitous ARP or unsolicited neighbour advertisement, and
//! noticing that somebody else says the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{
    Icmpv6Codes, MutableNeighborAdvertPacket, NdpOptionTypes, NeighborAdvertFlags, NeighborAdvertPacket,
};
use pnet::packet::icmpv6::{Icmpv6Packet, Icmpv6Types};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::util::MacAddr;

use crate::checksum::Sum;

/// Length of a gratuitous ARP frame. Drivers pad it to the Ethernet minimum.
pub const GRATUITOUS_ARP_LEN: usize = ETHERNET_LEN + ARP_LEN;
/// Length of an unsolicited neighbour advertisement frame.
pub const UNSOLICITED_NA_LEN: usize = ETHERNET_LEN + IPV6_LEN + NA_LEN;

const ETHERNET_LEN: usize = 14;
const ARP_LEN: usize = 28;
const IPV6_LEN: usize = 40;
const NA_BODY_LEN: usize = 24;
/// With the target link-layer address option.
const NA_PAYLOAD_LEN: u16 = 32;
const NA_LEN: usize = NA_PAYLOAD_LEN as usize;
const NA_HOP_LIMIT: u8 = 255;
const ICMPV6: u8 = 58;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = MacAddr(0x33, 0x33, 0, 0, 0, 1);

/// What a neighbour advertisement says about its sender (RFC 4861 §4.4, the R flag).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    Host,
    Router,
}

/// Somebody said on the link that `address` is at `mac`. The caller knows which addresses and which MACs
/// are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub address: IpAddr,
    pub mac: MacAddr,
}

/// A broadcast ARP request whose sender and target are both `address`, with `mac` as sender (RFC 5227 §3).
///
/// The target MAC, without meaning in a request, is ff:ff:ff:ff:ff:ff as keepalived sends it.
pub fn gratuitous_arp(mac: MacAddr, address: Ipv4Addr) -> [u8; GRATUITOUS_ARP_LEN] {
    let mut frame = [0; GRATUITOUS_ARP_LEN];
    let (ethernet, arp) = frame.split_at_mut(ETHERNET_LEN);
    let room = "the frame has room for every header";
    let mut ethernet = MutableEthernetPacket::new(ethernet).expect(room);
    ethernet.set_destination(MacAddr::broadcast());
    ethernet.set_source(mac);
    ethernet.set_ethertype(EtherTypes::Arp);
    let mut arp = MutableArpPacket::new(arp).expect(room);
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(ArpOperations::Request);
    arp.set_sender_hw_addr(mac);
    arp.set_sender_proto_addr(address);
    arp.set_target_hw_addr(MacAddr::broadcast());
    arp.set_target_proto_addr(address);
    frame
}

/// An unsolicited neighbour advertisement to all nodes that overrides what they have cached
/// (RFC 4861 §7.2.6).
pub fn unsolicited_na(mac: MacAddr, address: Ipv6Addr, forwarding: Forwarding) -> [u8; UNSOLICITED_NA_LEN] {
    let mut frame = [0; UNSOLICITED_NA_LEN];
    let (ethernet, packet) = frame.split_at_mut(ETHERNET_LEN);
    let (ipv6, message) = packet.split_at_mut(IPV6_LEN);
    let room = "the frame has room for every header";
    let mut ethernet = MutableEthernetPacket::new(ethernet).expect(room);
    ethernet.set_destination(ALL_NODES_MAC);
    ethernet.set_source(mac);
    ethernet.set_ethertype(EtherTypes::Ipv6);
    let mut ipv6 = MutableIpv6Packet::new(ipv6).expect(room);
    ipv6.set_version(6);
    ipv6.set_payload_length(NA_PAYLOAD_LEN);
    ipv6.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ipv6.set_hop_limit(NA_HOP_LIMIT);
    ipv6.set_source(address);
    ipv6.set_destination(ALL_NODES);
    write_na(message, mac, address, forwarding);
    frame
}

fn write_na(message: &mut [u8], mac: MacAddr, address: Ipv6Addr, forwarding: Forwarding) {
    let router = match forwarding {
        Forwarding::Host => 0,
        Forwarding::Router => NeighborAdvertFlags::Router,
    };
    let (body, option) = message.split_at_mut(NA_BODY_LEN);
    let mut na = MutableNeighborAdvertPacket::new(body).expect("the body has exactly the minimum length");
    na.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    na.set_icmpv6_code(Icmpv6Codes::NoCode);
    na.set_flags(NeighborAdvertFlags::Override | router);
    na.set_target_addr(address);
    let MacAddr(a, b, c, d, e, f) = mac;
    option.copy_from_slice(&[NdpOptionTypes::TargetLLAddr.0, 1, a, b, c, d, e, f]);
    let sum = Sum::default().bytes(message);
    let checksum = sum.pseudo_header(address.into(), ALL_NODES.into(), ICMPV6, NA_LEN).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

impl Claim {
    /// Reads the claim that a received Ethernet frame makes: that of the sender of any ARP packet, or that of
    /// a neighbour advertisement. `None` for everything else, and for what RFC 826 or RFC 4861 §7.1.2 has a
    /// receiver discard.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetPacket::new(frame)?;
        match ethernet.get_ethertype() {
            EtherTypes::Arp => Self::of_arp(ethernet.payload()),
            EtherTypes::Ipv6 => Self::of_na(ethernet.payload(), ethernet.get_source()),
            _ => None,
        }
    }

    fn of_arp(packet: &[u8]) -> Option<Self> {
        let arp = ArpPacket::new(packet)?;
        let for_us = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
            && arp.get_protocol_type() == EtherTypes::Ipv4
            && (arp.get_hw_addr_len(), arp.get_proto_addr_len()) == (6, 4);
        let address = arp.get_sender_proto_addr();
        // A probe has no sender address: it asks and claims nothing (RFC 5227 §2.1.1).
        (for_us && !address.is_unspecified())
            .then(|| Self { address: address.into(), mac: arp.get_sender_hw_addr() })
    }

    fn of_na(packet: &[u8], sender: MacAddr) -> Option<Self> {
        let ipv6 = Ipv6Packet::new(packet)?;
        let is_local = ipv6.get_version() == 6 && ipv6.get_hop_limit() == NA_HOP_LIMIT;
        if !is_local || ipv6.get_next_header() != IpNextHeaderProtocols::Icmpv6 {
            return None;
        }
        let message = packet.get(IPV6_LEN..IPV6_LEN + usize::from(ipv6.get_payload_length()))?;
        let (source, destination) = (ipv6.get_source().into(), ipv6.get_destination().into());
        let sum = Sum::default().bytes(message).pseudo_header(source, destination, ICMPV6, message.len());
        let icmp = Icmpv6Packet::new(message)?;
        let is_na = icmp.get_icmpv6_type() == Icmpv6Types::NeighborAdvert
            && icmp.get_icmpv6_code() == Icmpv6Codes::NoCode;
        if !is_na || !sum.is_valid() {
            return None;
        }
        let target = NeighborAdvertPacket::new(message)?.get_target_addr();
        let options = message.get(NA_BODY_LEN..)?;
        let mac = target_link_layer_address(options)?.unwrap_or(sender);
        (!target.is_multicast()).then(|| Self { address: target.into(), mac })
    }
}

/// Finds the option; `Some(None)` when there is none, `None` when the options are malformed.
fn target_link_layer_address(mut options: &[u8]) -> Option<Option<MacAddr>> {
    while let &[kind, units, ..] = options {
        let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
        match option {
            [] => return None,
            &[_, _, a, b, c, d, e, f] if kind == NdpOptionTypes::TargetLLAddr.0 => {
                return Some(Some(MacAddr(a, b, c, d, e, f)));
            }
            _ => options = rest,
        }
    }
    options.is_empty().then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);

    fn na() -> Vec<u8> {
        unsolicited_na(MAC, "2001:db8::62".parse().unwrap(), Forwarding::Host).to_vec()
    }

    /// Changes a neighbour advertisement and makes its checksum right again.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut frame = na();
        change(&mut frame);
        let len = u16::try_from(frame.len() - 54).unwrap();
        frame[18..20].copy_from_slice(&len.to_be_bytes());
        frame[56..58].fill(0);
        let source = <[u8; 16]>::try_from(&frame[22..38]).unwrap();
        let destination = <[u8; 16]>::try_from(&frame[38..54]).unwrap();
        let sum = Sum::default().bytes(&frame[54..]);
        let sum = sum.pseudo_header(source.into(), destination.into(), ICMPV6, usize::from(len));
        frame[56..58].copy_from_slice(&sum.checksum().to_be_bytes());
        frame
    }

    #[test]
    fn router_flag_follows_the_parameter() {
        let router = unsolicited_na(MAC, "fe80::1".parse().unwrap(), Forwarding::Router);
        assert_eq!(router[58], 0b1010_0000);
        assert_eq!(na()[58], 0b0010_0000);
        assert_eq!(Claim::read(&router).unwrap().mac, MAC);
    }

    #[test]
    fn any_arp_packet_claims_its_sender_address() {
        let address = Ipv4Addr::new(10, 0, 0, 9);
        let mut frame = gratuitous_arp(MAC, address);
        let claim = Some(Claim { address: address.into(), mac: MAC });
        assert_eq!(Claim::read(&frame), claim);
        frame[21] = 2;
        assert_eq!(Claim::read(&frame), claim, "as a reply");
    }

    #[test]
    fn arp_probe_claims_nothing() {
        assert_eq!(Claim::read(&gratuitous_arp(MAC, Ipv4Addr::UNSPECIFIED)), None);
    }

    #[test]
    fn arp_of_another_hardware_or_protocol_claims_nothing() {
        for at in [15, 16, 18, 19] {
            let mut frame = gratuitous_arp(MAC, Ipv4Addr::new(10, 0, 0, 9));
            frame[at] ^= 0x20;
            assert_eq!(Claim::read(&frame), None, "byte {at}");
        }
    }

    #[test]
    fn neighbour_advertisement_without_option_claims_for_its_ethernet_sender() {
        let frame = changed(|frame| {
            frame.truncate(78);
            frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        });
        assert_eq!(Claim::read(&frame).unwrap().mac, MacAddr(2, 0, 0, 0, 0, 7));
    }

    #[test]
    fn link_layer_option_is_found_behind_others() {
        let frame = changed(|frame| {
            let option = frame.split_off(78);
            frame.extend([14, 2]);
            frame.extend([0; 14]);
            frame.extend(option);
        });
        assert_eq!(Claim::read(&frame).unwrap().mac, MAC);
    }

    #[test]
    fn neighbour_advertisement_that_a_receiver_must_discard_claims_nothing() {
        let mut forwarded = na();
        forwarded[21] = 254;
        let mut wrong_checksum = na();
        wrong_checksum[57] ^= 1;
        let cases = [
            ("hop limit 254", forwarded),
            ("wrong checksum", wrong_checksum),
            ("code 1", changed(|f| f[55] = 1)),
            ("solicitation", changed(|f| f[54] = 135)),
            ("multicast target", changed(|f| f[62] = 0xff)),
            ("option of length zero", changed(|f| f[79] = 0)),
            ("option longer than the packet", changed(|f| f[79] = 2)),
            ("option cut short", changed(|f| f.truncate(79))),
        ];
        for (what, frame) in cases {
            assert_eq!(Claim::read(&frame), None, "{what}");
        }
    }

    #[test]
    fn no_prefix_of_a_frame_claims_anything_or_panics() {
        let (arp, na) = (gratuitous_arp(MAC, Ipv4Addr::new(10, 0, 0, 9)), na());
        for frame in [&arp[..], &na[..]] {
            for len in 0..frame.len() {
                assert_eq!(Claim::read(&frame[..len]), None, "{len} bytes");
            }
        }
    }
}
