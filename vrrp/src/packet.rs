//! IP packets as raw sockets take and deliver them.

use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

/// IP protocol number of VRRP (RFC 9568 §5.1.1.4).
pub const PROTOCOL_VRRP: u8 = 112;
/// IP protocol number of the authentication header (RFC 4302 §2).
pub const PROTOCOL_AH: u8 = 51;

/// A whole IP packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    pub packet: &'a [u8],
    pub destination: IpAddr,
}

/// An IPv4 packet whose lengths have been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4View<'a> {
    packet: &'a [u8],
    header: &'a [u8; 20],
    header_len: usize,
}

/// Why bytes are not an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ipv4Malformed {
    #[error("IPv4 packet of {have} bytes has no whole header")]
    Truncated { have: usize },
    #[error("IP version {0} in an IPv4 packet")]
    Version(u8),
    #[error("IPv4 header claims {claimed} bytes")]
    HeaderLength { claimed: usize },
    #[error("IPv4 packet claims {claimed} bytes, {have} are here")]
    TotalLength { claimed: usize, have: usize },
}

impl<'a> Ipv4View<'a> {
    /// Checks header length and total length; bytes behind the packet are cut off.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Ipv4Malformed> {
        let have = bytes.len();
        let header = bytes.first_chunk::<20>().ok_or(Ipv4Malformed::Truncated { have })?;
        let &[version_ihl, _, len_high, len_low, ..] = header;
        if version_ihl >> 4 != 4 {
            return Err(Ipv4Malformed::Version(version_ihl >> 4));
        }
        let header_len = usize::from(version_ihl & 0x0f) * 4;
        let claimed = usize::from(u16::from_be_bytes([len_high, len_low]));
        if header_len < header.len() || header_len > claimed {
            return Err(Ipv4Malformed::HeaderLength { claimed: header_len });
        }
        let packet = bytes.get(..claimed).ok_or(Ipv4Malformed::TotalLength { claimed, have })?;
        Ok(Self { packet, header, header_len })
    }

    /// Header, options and payload.
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Header length with options, in bytes.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.header_len..).unwrap_or_default()
    }

    pub fn ttl(&self) -> u8 {
        self.header[8]
    }

    pub fn protocol(&self) -> u8 {
        self.header[9]
    }

    pub fn source(&self) -> Ipv4Addr {
        let &[.., a, b, c, d, _, _, _, _] = self.header;
        Ipv4Addr::new(a, b, c, d)
    }

    pub fn destination(&self) -> Ipv4Addr {
        let &[.., a, b, c, d] = self.header;
        Ipv4Addr::new(a, b, c, d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        let mut bytes =
            vec![0x45, 0xc0, 0, 22, 0, 1, 0, 0, 255, PROTOCOL_VRRP, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18];
        bytes.extend([7, 8]);
        bytes
    }

    #[test]
    fn fields_are_read_from_their_places() {
        let bytes = packet();
        let view = Ipv4View::parse(&bytes).unwrap();
        assert_eq!((view.ttl(), view.protocol(), view.header_len()), (255, PROTOCOL_VRRP, 20));
        assert_eq!(view.source(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(view.destination(), Ipv4Addr::new(224, 0, 0, 18));
        assert_eq!(view.payload(), [7, 8]);
    }

    #[test]
    fn bytes_behind_the_total_length_are_cut_off() {
        let mut bytes = packet();
        bytes.extend([0; 24]);
        assert_eq!(Ipv4View::parse(&bytes).unwrap().payload(), [7, 8]);
    }

    #[test]
    fn options_are_not_payload() {
        let mut bytes = packet();
        bytes[0] = 0x46;
        bytes[3] = 26;
        bytes.splice(20..20, [1, 1, 1, 1]);
        assert_eq!(Ipv4View::parse(&bytes).unwrap().payload(), [7, 8]);
    }

    #[test]
    fn every_wrong_length_has_its_name() {
        let bytes = packet();
        assert_eq!(Ipv4View::parse(&bytes[..19]), Err(Ipv4Malformed::Truncated { have: 19 }));
        assert_eq!(Ipv4View::parse(&bytes[..21]), Err(Ipv4Malformed::TotalLength { claimed: 22, have: 21 }));
        let mut short_header = packet();
        short_header[0] = 0x44;
        assert_eq!(Ipv4View::parse(&short_header), Err(Ipv4Malformed::HeaderLength { claimed: 16 }));
        let mut version6 = packet();
        version6[0] = 0x65;
        assert_eq!(Ipv4View::parse(&version6), Err(Ipv4Malformed::Version(6)));
        let mut short_total = packet();
        short_total[3] = 19;
        assert_eq!(Ipv4View::parse(&short_total), Err(Ipv4Malformed::HeaderLength { claimed: 20 }));
    }
}
