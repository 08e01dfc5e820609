//! Any IPv4 packet: no authentication header is believed under a key that its sender does not have.

use buoy_vrrp::{AUTHENTICATION_HEADER_LEN, AuthenticationKey, Ipv4View};

/// The key of the captured packets, with which the corpus starts.
const KEY: &[u8; 8] = b"k3y\0\0\0\0\0";

pub(crate) fn check(packet: &[u8]) {
    let Ok(ip) = Ipv4View::parse(packet) else { return };
    if let Ok(authenticated) = AuthenticationKey::new(KEY).verify(&ip) {
        assert_eq!(authenticated.carrier_len, ip.header_len() + AUTHENTICATION_HEADER_LEN);
        assert_eq!(authenticated.pdu.len() + authenticated.carrier_len, ip.packet().len());
        assert!(AuthenticationKey::new(b"stranger").verify(&ip).is_err());
    }
}
