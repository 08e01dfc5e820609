//! The IPsec authentication header around VRRPv2 advertisements (`auth_type AH`).
//!
//! ```text
//! | Next Header = 112 | Payload Len = 4 | 0 0 | SPI: source address |
//! | Sequence Number | HMAC-MD5-96, 12 bytes | the advertisement ... |
//! ```
//!
//! As keepalived does it (observed with 2.2.7), the digest covers the IPv4 header with TOS and checksum as
//! zero, but, unlike RFC 4302 §3.3.3.1.1.1, with the TTL as it is; a packet that was routed does not verify.
//! The identification is covered too, so whoever sends must not leave it to the kernel.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use thiserror::Error;

use crate::packet::{Ipv4View, PROTOCOL_VRRP};

/// Length of the header with a 96 bit digest.
pub const AUTHENTICATION_HEADER_LEN: usize = 24;

const DIGEST_LEN: usize = 12;
const DIGEST_AT: usize = 12;
const PAYLOAD_LEN_WORDS: u8 = 4;

/// A received authentication header whose digest is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticated<'a> {
    /// Must grow from one accepted packet of a sender to the next.
    pub sequence: u32,
    /// The advertisement behind the header.
    pub pdu: &'a [u8],
    /// Bytes of the IP packet ahead of `pdu`.
    pub carrier_len: usize,
}

/// Why a packet is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unauthenticated {
    #[error("authentication header of {have} bytes is cut short")]
    Truncated { have: usize },
    #[error("authentication header is followed by protocol {0}")]
    NextHeader(u8),
    #[error("authentication header of {words} words is not one with HMAC-MD5-96")]
    PayloadLength { words: u8 },
    #[error("security parameters index {spi:08x} is not the source address")]
    Spi { spi: u32 },
    #[error("wrong digest in the authentication header")]
    Digest,
}

/// The shared password as a key that need not be expanded for every packet.
#[derive(Clone)]
pub struct AuthenticationKey(Hmac<Md5>);

impl std::fmt::Debug for AuthenticationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthenticationKey(..)")
    }
}

impl AuthenticationKey {
    /// From `auth_pass`; zero padding does not change the key (RFC 2104 §2).
    pub fn new(password: &[u8; 8]) -> Self {
        Self(Hmac::new_from_slice(password).expect("HMAC takes keys of any length"))
    }

    /// Checks header and digest of a whole IPv4 packet of protocol 51. Freshness is the caller's to judge.
    pub fn verify<'a>(&self, packet: &Ipv4View<'a>) -> Result<Authenticated<'a>, Unauthenticated> {
        let have = packet.payload().len();
        let (header, pdu) = packet
            .payload()
            .split_first_chunk::<AUTHENTICATION_HEADER_LEN>()
            .ok_or(Unauthenticated::Truncated { have })?;
        let &[next_header, words, _, _, spi0, spi1, spi2, spi3, s0, s1, s2, s3, ..] = header;
        if next_header != PROTOCOL_VRRP {
            return Err(Unauthenticated::NextHeader(next_header));
        }
        if words != PAYLOAD_LEN_WORDS {
            return Err(Unauthenticated::PayloadLength { words });
        }
        let spi = [spi0, spi1, spi2, spi3];
        if spi != packet.source().octets() {
            return Err(Unauthenticated::Spi { spi: u32::from_be_bytes(spi) });
        }
        self.mac(packet.packet(), packet.header_len())
            .verify_truncated_left(&header[DIGEST_AT..])
            .map_err(|_opaque| Unauthenticated::Digest)?;
        Ok(Authenticated {
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            pdu,
            carrier_len: packet.header_len() + AUTHENTICATION_HEADER_LEN,
        })
    }

    /// Writes sequence number and digest into the header at `header_len` of `packet`, an IPv4 packet that
    /// [`write_header`] has been at.
    pub(crate) fn sign(&self, packet: &mut [u8], header_len: usize, sequence: u32) {
        let digest_at = header_len + DIGEST_AT;
        packet[header_len + 8..digest_at].copy_from_slice(&sequence.to_be_bytes());
        let digest = self.mac(packet, header_len).finalize().into_bytes();
        packet[digest_at..digest_at + DIGEST_LEN].copy_from_slice(&digest[..DIGEST_LEN]);
    }

    /// HMAC over a packet that holds at least its IP and authentication header.
    fn mac(&self, packet: &[u8], header_len: usize) -> Hmac<Md5> {
        let digest_at = header_len + DIGEST_AT;
        let mut mac = self.0.clone();
        mac.update(&packet[..1]);
        mac.update(&[0]);
        mac.update(&packet[2..10]);
        mac.update(&[0, 0]);
        mac.update(&packet[12..digest_at]);
        mac.update(&[0; DIGEST_LEN]);
        mac.update(&packet[digest_at + DIGEST_LEN..]);
        mac
    }
}

/// The header with sequence number and digest still zero; `source` doubles as the SPI.
pub(crate) fn write_header(source: [u8; 4]) -> [u8; AUTHENTICATION_HEADER_LEN] {
    let mut header = [0; AUTHENTICATION_HEADER_LEN];
    header[0] = PROTOCOL_VRRP;
    header[1] = PAYLOAD_LEN_WORDS;
    header[4..8].copy_from_slice(&source);
    header
}
