//! Any IP packet: its advertisement is refused, or what is read from it is consistent.

use buoy_vrrp::{AdvertisementView, Family, Ipv4View, Version};

pub(crate) fn check(packet: &[u8]) {
    if packet.first().is_some_and(|byte| byte >> 4 == 6) {
        check_message(packet.get(40..).unwrap_or_default(), Family::V6, 40);
    } else if let Ok(ip) = Ipv4View::parse(packet) {
        assert_eq!(ip.header_len() + ip.payload().len(), ip.packet().len());
        assert!(ip.packet().len() <= packet.len());
        check_message(ip.payload(), Family::V4, ip.header_len());
    }
}

fn check_message(pdu: &[u8], family: Family, carrier_len: usize) {
    let Ok(view) = AdvertisementView::parse(pdu, family, carrier_len) else { return };
    assert_eq!(view.addresses().len(), usize::from(view.count()));
    assert!(view.addresses().all(|address| Family::of(address) == family));
    assert!(!view.interval().is_zero());
    assert_eq!(view.authentication().is_some(), view.version() == Version::V2);
    assert!(pdu.starts_with(view.message()), "only padding may be cut off");
    assert_eq!(AdvertisementView::parse(view.message(), family, carrier_len), Ok(view));
    for address in view.addresses() {
        view.checksum(address, address);
    }
}
