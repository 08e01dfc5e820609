//! Settings for tests: keepalived's defaults around a few values.

use std::net::IpAddr;
use std::time::Duration;

use buoy_vrrp::{
    Family, MULTICAST_V4, MULTICAST_V6, Priority, RouterSettings, Transport, Unicast, UnicastPeer, Version,
};

use crate::fixture;

pub(crate) fn router(
    version: Version,
    vrid: u8,
    priority: u8,
    interval: f64,
    addresses: &[&str],
) -> RouterSettings {
    let advertised: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let family = advertised.first().map_or(Family::V4, |a| Family::of(*a));
    let group = match family {
        Family::V4 => MULTICAST_V4.into(),
        Family::V6 => MULTICAST_V6.into(),
    };
    RouterSettings {
        family,
        version,
        priority: Priority::new(priority),
        advert_interval: Duration::from_secs_f64(interval),
        advertised,
        transport: Transport::Multicast { group },
        ..fixture::router("router", vrid)
    }
}

pub(crate) fn unicast(peer: &str, ttl: u8) -> Transport {
    let peer = UnicastPeer { address: peer.parse().unwrap(), min_ttl: 0, max_ttl: 255 };
    Transport::Unicast(Unicast { peers: vec![peer], ttl, check_source: true })
}

pub(crate) fn password(text: &str) -> [u8; 8] {
    let mut password = [0; 8];
    password[..text.len()].copy_from_slice(text.as_bytes());
    password
}
