//! What a frame on a TAP says of itself: what is still to be done to it before it is on a wire.

/// `struct virtio_net_hdr` (`linux/virtio_net.h`) as it is on a TAP: numbers in the byte order of the machine. What this
/// version does not know of it stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub flags: u8,
    /// One of the `GSO_` numbers, with or without [`Self::GSO_ECN`].
    pub gso_type: u8,
    /// How many bytes of headers each segment repeats: a hint.
    pub header_length: u16,
    /// How much of the payload one segment has.
    pub segment_size: u16,
    /// Where what is summed begins, from the start of the frame.
    pub checksum_start: u16,
    /// Where the sum goes, from there.
    pub checksum_offset: u16,
}

/// A checksum that is not made yet: in its place stands the sum of the pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where what is summed begins, from the start of the frame.
    pub start: usize,
    /// Where the sum goes, from the start of the frame.
    pub place: usize,
}

impl Header {
    pub const SIZE: usize = 10;

    /// The checksum is not made yet.
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// It was compared by whoever received the frame.
    pub const CHECKSUM_IS_VALID: u8 = 2;

    pub const GSO_NONE: u8 = 0;
    pub const GSO_TCP_V4: u8 = 1;
    /// A datagram to be cut into IP fragments.
    pub const GSO_UDP: u8 = 3;
    pub const GSO_TCP_V6: u8 = 4;
    /// Datagrams of one size each.
    pub const GSO_UDP_L4: u8 = 5;
    /// The first segment alone says that congestion was reduced (CWR).
    pub const GSO_ECN: u8 = 0x80;

    pub const fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        Self {
            flags,
            gso_type,
            header_length: u16::from_ne_bytes([a, b]),
            segment_size: u16::from_ne_bytes([c, d]),
            checksum_start: u16::from_ne_bytes([e, f]),
            checksum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    pub const fn to_bytes(&self) -> [u8; Self::SIZE] {
        let [a, b] = self.header_length.to_ne_bytes();
        let [c, d] = self.segment_size.to_ne_bytes();
        let [e, f] = self.checksum_start.to_ne_bytes();
        let [g, h] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }

    pub fn partial_checksum(&self) -> Option<PartialChecksum> {
        let start = usize::from(self.checksum_start);
        let place = start + usize::from(self.checksum_offset);
        (self.flags & Self::NEEDS_CHECKSUM != 0).then_some(PartialChecksum { start, place })
    }

    /// How much of the payload one segment has, if the frame is to be cut into several.
    pub const fn segment_size(&self) -> Option<u16> {
        if self.gso_type & !Self::GSO_ECN == Self::GSO_NONE { None } else { Some(self.segment_size) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_merged_packet_of_tcp_is_read() {
        // 66 bytes of headers, segments of 1448 bytes, the sum from 34 on at 34 + 16.
        let bytes = [1, 0x81, 66, 0, 0xa8, 0x05, 34, 0, 16, 0];
        let header = Header::from_bytes(&bytes);
        assert_eq!(header.partial_checksum(), Some(PartialChecksum { start: 34, place: 50 }));
        assert_eq!(header.segment_size(), Some(1448));
        assert_eq!(header.header_length, 66);
        let plain = Header { flags: Header::CHECKSUM_IS_VALID, ..Header::default() };
        assert_eq!((plain.partial_checksum(), plain.segment_size()), (None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes: [u8; Header::SIZE]) {
            let header = Header::from_bytes(&bytes);
            prop_assert_eq!(header.to_bytes(), bytes);
            if let Some(checksum) = header.partial_checksum() {
                prop_assert!(checksum.place >= checksum.start);
            }
        }
    }
}
