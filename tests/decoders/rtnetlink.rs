//! Any bytes from the kernel: the table of interfaces stays consistent, and its events tell all of it.

use std::collections::BTreeMap;

use buoy::host::{HostEvent, hear};

pub(crate) fn check(received: &[u8]) {
    let mut links = hear(received);
    for link in links.iter() {
        assert_eq!(links.by_index(link.index), Some(link));
        assert_eq!(links.by_name(&link.name), Some(link), "one interface under each name");
        for held in links.addresses(link.index) {
            assert_eq!(links.address(link.index, held.ip, held.prefix_len), Some(held));
        }
    }
    // Whoever follows the events knows what the table knows.
    let (mut known, mut addressed) = (BTreeMap::new(), BTreeMap::new());
    for event in links.poll_events() {
        match event {
            HostEvent::Link(link) => drop(known.insert(link.index, link)),
            HostEvent::LinkGone { index, .. } => drop(known.remove(&index)),
            HostEvent::Addresses { index, addresses, .. } => drop(addressed.insert(index, addresses)),
            HostEvent::ItemLost { item, .. } => panic!("nobody holds {item}"),
        }
    }
    assert!(known.values().eq(links.iter()));
    for link in links.iter() {
        let told = addressed.remove(&link.index).unwrap_or_default();
        assert!(told.iter().eq(links.addresses(link.index)), "{told:?}");
    }
    assert_eq!(addressed, BTreeMap::new(), "no address without an interface");
    assert_eq!(links.poll_events(), [], "everything is told once");
}
